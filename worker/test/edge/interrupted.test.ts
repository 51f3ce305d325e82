// A Worker may end between any two of its requests: because it has failed, because of a limit, or
// because its client has gone. Here it does after each of them, and what comes by itself
// after that leaves the image complete, or gone.

import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ImageList, Job, Manifest } from "../../src/api";
import type { Env } from "../../src/env";
import { entryKey } from "../../src/image";
import gallery from "../../src/index";
import { chunk } from "../../src/pull";
import { readImage } from "../../src/state";
import {
  type Pending,
  Worker,
  bird,
  copyToBucket,
  daemon,
  empty,
  finished,
  origin,
  ownerToken,
  photo,
  stateOf,
  storedBird,
  storedFiles,
} from "./harness";

const hookUrl = "https://hooks.example.com/";
/** More requests than any of these invocations makes. */
const enough = 40;

let worker: Worker;

beforeEach(async () => {
  worker = new Worker({ HOOK_URLS: hookUrl });
  await worker.tick(); // completes the index
});
afterEach(async () => {
  vi.useRealTimers();
  await empty();
});

/** Runs work until it has made this number of requests: the next one, and all after it, never end. Returns whether there is one. */
async function dying(requests: number, work: () => Promise<unknown>): Promise<boolean> {
  const alive = worker.env;
  let made = 0;
  let die = () => {};
  const death = new Promise<void>((resolve) => {
    die = resolve;
  });
  const mortal = <T extends object>(target: T, methods: readonly string[]): T =>
    new Proxy(target, {
      get(object, name) {
        const value: unknown = Reflect.get(object, name);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (methods.includes(String(name)) && made++ >= requests) {
            die();
            return new Promise(() => {});
          }
          return Reflect.apply(value, object, args) as unknown;
        };
      },
    });
  worker.env = {
    ...alive,
    IMAGES: mortal(alive.IMAGES, ["get", "head", "put", "list", "delete"]),
    META: mortal(alive.META, ["get", "put", "delete"]),
    INDEX: mortal(alive.INDEX as D1Database, ["batch"]),
    WORK: mortal(alive.WORK, ["send"]),
    OPTIMIZER: mortal(alive.OPTIMIZER as Fetcher, ["fetch"]),
  };
  await Promise.race([work(), death]);
  worker.env = alive;
  return made > requests;
}

/** Runs a test with a Worker that dies after one request, after two, and so on, until it does not. */
async function eachDeath(run: (requests: number) => Promise<boolean>): Promise<void> {
  for (let requests = 0; await run(requests); requests++) expect(requests).toBeLessThan(enough);
}

/** What the triggers of this time start. */
async function later(hours: number): Promise<void> {
  vi.setSystemTime(Date.now() + hours * 3600_000);
  await worker.tick();
  for (const kind of ["trash", "inbox", "pull", "leftovers"] as const) await worker.drain(kind);
}

/** Where an image is shown, and how many of its files are there. */
async function shown(manifest: Manifest): Promise<unknown> {
  const { id } = manifest;
  const { images } = await (await worker.owner("/api/images?view=compact")).json<ImageList>();
  return {
    listed: images.some((image) => image.id === id),
    entry: (await env.META.get(entryKey(id))) !== null,
    page: (await worker.fetch(`/p/${id}`)).status,
    files: (await storedFiles(manifest)).length,
  };
}

const complete = { listed: true, entry: true, page: 200, files: 21 };
const gone = { listed: false, entry: false, page: 404, files: 0 };

async function announced(): Promise<string[]> {
  const types = worker.queue.flatMap(({ body }) => (body.kind === "hook" ? [`${body.type} ${body.id}`] : []));
  worker.queue = worker.queue.filter(({ body }) => body.kind !== "hook");
  return [...new Set(types)].map((one) => one.split(" ")[0] ?? "");
}

test("a deletion for good that nobody repeats", async () => {
  await eachDeath(async (requests) => {
    const manifest = await storedBird(worker);
    await announced();
    const path = `/api/images/${manifest.id}`;
    const died = await dying(requests, () => worker.owner(path, { method: "DELETE" }));
    await later(0.1);
    const { status } = (await readImage(env as unknown as Env, manifest.id)) ?? {};
    expect([requests, await shown(manifest)]).toEqual([requests, status === "done" ? complete : gone]);
    expect((await env.IMAGES.list({ prefix: "state/trash/" })).objects).toEqual([]);
    expect(await announced()).toEqual(status === "done" ? [] : ["image.deleted"]);
    await empty();
    return died;
  });
});

test("a restoration that nobody repeats", async () => {
  await eachDeath(async (requests) => {
    const manifest = await storedBird(worker);
    await worker.owner(`/api/images/${manifest.id}/trash`, { method: "POST" });
    await announced();
    const path = `/api/images/${manifest.id}/restore`;
    const died = await dying(requests, () => worker.owner(path, { method: "POST" }));
    const { status } = (await readImage(env as unknown as Env, manifest.id)) ?? {};
    if (status === "done") expect([requests, await shown(manifest)]).toEqual([requests, complete]);
    await later(25);
    expect([requests, await shown(manifest)]).toEqual([requests, status === "done" ? complete : gone]);
    expect((await env.IMAGES.list({ prefix: "state/trash/" })).objects).toEqual([]);
    await empty();
    return died;
  });
});

/** The uploads whose clients have an answer. */
async function accepted(): Promise<string[]> {
  const prefix = "state/uploads/";
  const { objects } = await env.IMAGES.list({ prefix });
  return objects.map(({ key }) => key.slice(prefix.length).replace(".json", ""));
}

test("an upload that restores an image", async () => {
  await eachDeath(async (requests) => {
    const manifest = await storedBird(worker);
    await worker.owner(`/api/images/${manifest.id}/trash`, { method: "POST" });
    await announced();
    vi.setSystemTime(Date.now() + 1000);
    const bytes = await photo(bird);
    const before = await accepted();
    const died = await dying(requests, () => worker.upload(bytes, bird));
    const [upload] = (await accepted()).filter((id) => !before.includes(id));
    await later(0.2);
    if (upload !== undefined) {
      expect([requests, (await worker.status(upload)).status]).toEqual([requests, "done"]);
      expect([requests, await shown(manifest)]).toEqual([requests, complete]);
    }
    await empty();
    return died;
  });
});

test.each([{ DIRECT: false }, { DIRECT: true }])("a webhook that the daemon repeats, %j", async ({ DIRECT }) => {
  worker.env.DIRECT = DIRECT;
  await eachDeath(async (requests) => {
    const { upload } = await worker.upload(await photo(bird, crypto.randomUUID()));
    const job: Job = await finished(upload);
    const { manifest } = job.output as { manifest: Manifest };
    if (DIRECT) await copyToBucket(manifest);
    const died = await dying(requests, () => worker.webhook(job));
    await worker.webhook(job);
    await worker.drain();
    expect([requests, await shown(manifest)]).toEqual([requests, complete]);
    expect([requests, (await worker.status(upload)).status]).toEqual([requests, "done"]);
    expect([requests, await announced()]).toEqual([requests, ["image.published"]]);
    await empty();
    return died;
  });
});

/** An upload of whose files only the last part is about to be pulled. */
async function storing(): Promise<{ upload: string; manifest: Manifest; message: Pending }> {
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  const job = await finished(upload);
  const { manifest } = job.output as { manifest: Manifest };
  await worker.webhook(job);
  for (;;) {
    const message = worker.queue.splice(0).find(({ body }) => body.kind === "pull");
    if (message?.body.kind !== "pull") throw new Error("nothing is to be pulled");
    if (message.body.from + chunk >= manifest.variants.length) return { upload, manifest, message };
    await worker.handle(message);
  }
}

const lose = ({ id }: Manifest) => daemon(`/v1/images/${id}`, { method: "DELETE" });
const sources = async () => (await env.IMAGES.list({ prefix: "inbox/" })).objects.length;

async function expectStored(requests: number, upload: string, manifest: Manifest): Promise<void> {
  expect([requests, await shown(manifest)]).toEqual([requests, { ...complete, files: manifest.variants.length }]);
  expect([requests, (await worker.status(upload)).status]).toEqual([requests, "done"]);
  expect([requests, await sources()]).toEqual([requests, 0]);
}

test("a pull of the last files, whose message comes again", async () => {
  await eachDeath(async (requests) => {
    const { upload, manifest, message } = await storing();
    const died = await dying(requests, () => worker.handle(message));
    if ((await storedFiles(manifest)).length < manifest.variants.length) expect(await sources()).toBe(1);
    if (died) await worker.handle(message);
    await worker.drain();
    await later(0.2);
    await expectStored(requests, upload, manifest);
    await empty();
    return died;
  });
});

test("a pull from a daemon that has lost the image, whose message comes again", async () => {
  await eachDeath(async (requests) => {
    const { upload, manifest, message } = await storing();
    await lose(manifest);
    const died = await dying(requests, () => worker.handle(message));
    if (died) await worker.handle(message);
    expect(await sources()).toBe(1);
    await later(0.2);
    await later(0.2);
    await worker.webhook(await finished(upload));
    await worker.drain();
    await expectStored(requests, upload, manifest);
    await empty();
    return died;
  });
});

test("a pull that is given up, until the daemon is back", async () => {
  const { OPTIMIZER: optimizer } = worker.env;
  await eachDeath(async (requests) => {
    const { upload, manifest, message } = await storing();
    worker.env.OPTIMIZER = { fetch: () => Promise.reject(new Error("off")) } as unknown as Fetcher;
    const last = { ...message, attempts: 21 };
    const died = await dying(requests, () => worker.handle(last));
    if (died) await worker.handle(last);
    expect([requests, (await worker.status(upload)).status]).toEqual([requests, "failed"]);
    if (optimizer) worker.env.OPTIMIZER = optimizer;
    for (let n = 0; n < 2; n++) await later(0.2);
    await worker.drain();
    await later(0.2);
    await expectStored(requests, upload, manifest);
    await empty();
    return died;
  });
});

test("the trigger that hands over what the daemon has lost", async () => {
  await eachDeath(async (requests) => {
    const { upload, manifest, message } = await storing();
    await lose(manifest);
    await worker.handle(message);
    vi.setSystemTime(Date.now() + 5 * 60_000);
    await worker.tick();
    const died = await dying(requests, () => worker.drain("inbox"));
    expect(await sources()).toBe(1);
    for (let n = 0; n < 3; n++) await later(0.2);
    // If it was sent twice, the daemon had the image the second time.
    if ((await stateOf(upload)).job !== null) await worker.webhook(await finished(upload));
    await worker.drain();
    await later(0.2);
    await expectStored(requests, upload, manifest);
    await empty();
    return died;
  });
});

test("a page that learns of the end of a job, which the daemon does not know any more after that", async () => {
  const { OPTIMIZER: optimizer } = worker.env;
  await eachDeath(async (requests) => {
    const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
    const { manifest } = (await finished(upload)).output as { manifest: Manifest };
    const died = await dying(requests, () => worker.status(upload));
    worker.env.OPTIMIZER = {
      fetch: (...args: Parameters<Fetcher["fetch"]>) =>
        String(args[0]).includes("/jobs/")
          ? Promise.resolve(Response.json({ code: "not_found", detail: "Gone." }, { status: 404 }))
          : optimizer?.fetch(...args),
    } as unknown as Fetcher;
    await worker.drain();
    for (let n = 0; n < 3; n++) await later(0.2);
    await expectStored(requests, upload, manifest);
    if (optimizer) worker.env.OPTIMIZER = optimizer;
    await empty();
    return died;
  });
});

test("a webhook in direct mode, of an image that is being pulled", async () => {
  await eachDeath(async (requests) => {
    const { upload, manifest, message } = await storing();
    // Of an upload that is not known here.
    const job = { ...(await finished(upload)), id: `job_${"0".repeat(26)}` };
    worker.env.DIRECT = true;
    const died = await dying(requests, () => worker.webhook(job));
    vi.setSystemTime(Date.now() + 5 * 60_000);
    await worker.tick();
    await worker.drain("inbox");
    expect([requests, await sources()]).toEqual([requests, 1]);
    await worker.webhook(job);
    await worker.handle(message);
    await worker.drain();
    await expectStored(requests, upload, manifest);
    worker.env.DIRECT = false;
    await empty();
    return died;
  });
});

test("a deletion for good of an image that is being stored, while the daemon is off", async () => {
  const { OPTIMIZER: optimizer } = worker.env;
  await eachDeath(async (requests) => {
    const { upload, manifest, message } = await storing();
    worker.env.OPTIMIZER = { fetch: () => Promise.reject(new Error("off")) } as unknown as Fetcher;
    const path = `/api/images/${manifest.id}`;
    const died = await dying(requests, () => worker.owner(path, { method: "DELETE" }));
    await later(0.1);
    const { status } = (await readImage(env as unknown as Env, manifest.id)) ?? {};
    expect([requests, await sources()]).toEqual([requests, status === "storing" ? 1 : 0]);
    if (optimizer) worker.env.OPTIMIZER = optimizer;
    await worker.handle(message);
    if (status === "storing") await expectStored(requests, upload, manifest);
    else expect([requests, await shown(manifest)]).toEqual([requests, gone]);
    await empty();
    return died;
  });
});

/** A Worker before whose first writing to KV something else happens. */
function interposed(work: () => Promise<unknown>): Worker {
  const { META: meta } = worker.env;
  const other = new Worker({ ...worker.env });
  other.env.META = new Proxy(meta, {
    get(object, name) {
      const real = Reflect.get(object, name) as (...args: unknown[]) => unknown;
      if (name !== "put") return real;
      return async (...args: unknown[]) => {
        other.env.META = meta;
        await work();
        return real(...args);
      };
    },
  });
  return other;
}

test("a message that comes twice at once does not undo what the owner has written meanwhile", async () => {
  const { upload } = await worker.upload(await photo(bird, crypto.randomUUID()));
  const job = await finished(upload);
  const { id } = (job.output as { manifest: Manifest }).manifest;
  await worker.webhook(job);
  await worker.step();
  await worker.step();
  const [last] = worker.queue.filter(({ body }) => body.kind === "pull");
  if (!last) throw new Error("there is no third part");
  const other = interposed(async () => {
    await worker.drain();
    return worker.owner(`/api/images/${id}`, { method: "PATCH", body: '{"title": "A bird"}' });
  });
  await other.handle(last);
  const { images } = await (await worker.owner("/api/images")).json<ImageList>();
  expect(images).toMatchObject([{ title: "A bird" }]);
  expect(await env.META.get(entryKey(id), "json")).toMatchObject({ title: "A bird" });
});

test("a repeated webhook does not show what the owner has deleted meanwhile, in direct mode", async () => {
  worker.env.DIRECT = true;
  const { upload } = await worker.upload(await photo(bird, crypto.randomUUID()));
  const job = await finished(upload);
  const { manifest } = job.output as { manifest: Manifest };
  await copyToBucket(manifest);
  await dying(3, () => worker.webhook(job)); // before KV has it
  const other = interposed(() => worker.owner(`/api/images/${manifest.id}/trash`, { method: "POST" }));
  await other.webhook(job);
  expect(await shown(manifest)).toEqual({ ...gone, files: 21 });
});

// In production a request ends when its client goes, but for what the runtime was asked to wait for.
test.each(["DELETE", "POST"])("what a client begins is completed without it: %s", async (method) => {
  const manifest = await storedBird(worker);
  const path = `/api/images/${manifest.id}${method === "POST" ? "/trash" : ""}`;
  const request = new Request(origin + path, { method, headers: { Authorization: `Bearer ${ownerToken}` } });
  const ctx = createExecutionContext();
  const answer = gallery.fetch(request as Request<unknown, IncomingRequestCfProperties>, worker.env, ctx);
  await waitOnExecutionContext(ctx);
  expect(await shown(manifest)).toEqual({ ...gone, files: method === "POST" ? 21 : 0 });
  expect((await answer).status).toBe(204);
});
