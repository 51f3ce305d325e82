// The source of an upload stays in R2 until the files of its image are there, too, and no longer.

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Job, Manifest } from "../../src/api";
import type { ImageState } from "../../src/state";
import {
  Worker,
  bird,
  copyToBucket,
  daemon,
  empty,
  faults,
  finished,
  photo,
  seen,
  startDaemon,
  stateOf,
  stopDaemon,
  storedFiles,
} from "./harness";

let worker: Worker;

beforeEach(async () => {
  worker = new Worker();
  await worker.tick(); // completes the index
  await seen();
});
afterEach(async () => {
  vi.useRealTimers();
  await faults();
  await startDaemon();
  await empty();
});

const minute = 60_000;
const square = () => photo("test_square.jpg", crypto.randomUUID());

/** The next trigger, and what it enqueues. */
async function trigger(): Promise<void> {
  vi.useFakeTimers({ now: Date.now() + 5 * minute, toFake: ["Date"] });
  await worker.tick();
  for (const kind of ["trash", "leftovers", "inbox", "pull"] as const) await worker.drain(kind);
}

/** The uploads whose sources are in R2. */
async function sources(): Promise<string[]> {
  const { objects } = await env.IMAGES.list({ prefix: "inbox/" });
  return objects.map(({ key }) => key.slice("inbox/".length));
}

const stateKey = (id: string) => `state/images/${id}.json`;

async function imageState(id: string): Promise<ImageState | null> {
  const object = await env.IMAGES.get(stateKey(id));
  return object && object.json<ImageState>();
}

interface Ended {
  upload: string;
  job: Job;
  manifest: Manifest;
}

/** An upload whose job has ended, which the Worker does not know yet. */
async function ended(bytes: ArrayBuffer): Promise<Ended> {
  const { upload } = await worker.upload(bytes);
  const job = await finished(upload);
  return { upload, job, manifest: (job.output as { manifest: Manifest }).manifest };
}

/** An upload whose files are about to be pulled. */
async function storing(bytes?: ArrayBuffer): Promise<Ended> {
  const one = await ended(bytes ?? (await square()));
  expect((await worker.webhook(one.job)).status).toBe(204);
  return one;
}

/** Another upload of a photo that the daemon has. */
async function again(bytes: ArrayBuffer): Promise<string> {
  const { upload } = await worker.upload(bytes);
  expect(await stateOf(upload)).toMatchObject({ job: null, image: expect.any(String) as string });
  return upload;
}

/** What the daemon's owner, its retention or the end of its disk does. */
const lose = ({ id }: Manifest) => daemon(`/v1/images/${id}`, { method: "DELETE" });

async function expectDone(manifest: Manifest, ...uploads: string[]): Promise<void> {
  for (const upload of uploads) expect(await worker.status(upload)).toMatchObject({ status: "done", error: null });
  expect(await storedFiles(manifest)).toHaveLength(manifest.variants.length);
  expect(await env.META.get(`image:${manifest.id}`)).not.toBeNull();
  expect(await sources()).toEqual([]);
}

describe("an image that the daemon loses before its files are stored", () => {
  test.each([0, 1, 2])("arrives by itself, lost after %i parts", async (parts) => {
    const { upload, manifest } = await storing(await photo(bird, crypto.randomUUID()));
    for (let part = 0; part < parts; part++) await worker.step();
    await lose(manifest);
    await worker.drain();
    expect(await stateOf(upload)).toMatchObject({ image: null, job: null, reason: { code: "image_lost" } });
    await trigger();
    await worker.webhook(await finished(upload));
    await worker.drain();
    await expectDone(manifest, upload);
    for (const { external, internal } of worker.invocations) expect(external + internal).toBeLessThanOrEqual(20);
  });

  test("arrives while a page follows its upload, without a trigger or a webhook", async () => {
    const { upload, manifest } = await storing();
    await lose(manifest);
    await worker.drain();
    await worker.status(upload);
    expect(await worker.status(upload)).toMatchObject({ status: "working", error: null });
    await finished(upload);
    await worker.status(upload);
    await worker.drain();
    await expectDone(manifest, upload);
  });

  test("arrives if a page sees the loss before its upload was opened again", async () => {
    const { upload, manifest } = await storing();
    await lose(manifest);
    await worker.drain();
    const lost = await imageState(manifest.id);
    expect(lost).toMatchObject({ status: "failed", error: { code: "not_found" }, uploads: [upload] });
    const key = `state/uploads/${upload}.json`;
    await env.IMAGES.put(key, JSON.stringify({ ...(await stateOf(upload)), image: manifest.id }));
    expect(await worker.status(upload)).toMatchObject({ status: "saved", error: { code: "image_lost" } });
    expect(await worker.status(upload)).toMatchObject({ status: "working", error: null });
    await worker.webhook(await finished(upload));
    await worker.drain();
    await expectDone(manifest, upload);
  });

  test("arrives if that was before the Worker learned of the end of its job", async () => {
    const { upload, manifest } = await ended(await square());
    await lose(manifest);
    expect(await worker.status(upload)).toMatchObject({ status: "saved", error: { code: "image_lost" } });
    expect(await sources()).toEqual([upload]);
    await trigger();
    await worker.webhook(await finished(upload));
    await worker.drain();
    await expectDone(manifest, upload);
  });

  test("arrives if the daemon comes back without it after half a day", async () => {
    const { upload, manifest } = await storing();
    await lose(manifest);
    await stopDaemon();
    await worker.drain();
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "optimizer_unavailable" } });
    await startDaemon();
    await trigger();
    await trigger();
    await worker.webhook(await finished(upload));
    await worker.drain();
    await expectDone(manifest, upload);
  });

  test("arrives for two equal uploads", async () => {
    const bytes = await square();
    const { upload, manifest } = await storing(bytes);
    const second = await again(bytes);
    expect(await sources()).toEqual([upload, second]);
    await lose(manifest);
    await worker.drain();
    await trigger();
    for (const one of [upload, second]) {
      if ((await stateOf(one)).job !== null) await worker.webhook(await finished(one));
    }
    await worker.drain();
    await expectDone(manifest, upload, second);
  });

  test("a third time ends its upload, with a reason", async () => {
    const { upload, manifest } = await storing();
    for (let loss = 1; ; loss++) {
      await lose(manifest);
      await worker.drain();
      if (loss === 3) break;
      await trigger();
      await worker.webhook(await finished(upload));
    }
    const { status, error } = await worker.status(upload);
    expect([status, error?.code]).toEqual(["failed", "image_lost"]);
    expect(error?.message).toContain("lost the image 3 times");
    expect(await sources()).toEqual([]);
    await trigger();
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "image_lost" } });
  });

  test("before its upload was known fails as it did", async () => {
    const { upload, manifest } = await storing();
    // As the version before has left it.
    const { uploads: _, ...state } = (await imageState(manifest.id)) as ImageState & { uploads?: string[] };
    await env.IMAGES.put(stateKey(manifest.id), JSON.stringify(state));
    await lose(manifest);
    await worker.drain();
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "not_found" } });
    await trigger();
    expect(await sources()).toEqual([]);
  });

  test("has other files the next time, if the daemon has another libvips by then", async () => {
    const bytes = await square();
    const { job, manifest } = await ended(bytes);
    const others = manifest.variants.map((variant) => ({ ...variant, sha256: "0".repeat(64) }));
    await worker.webhook({ ...job, output: { manifest: { ...manifest, variants: others }, url: "https://x/" } });
    const second = await again(bytes);
    await worker.drain();
    await expectDone(manifest, second);
  });
});

describe("the source stays", () => {
  test("while the daemon is away for half a day, and after that, whatever the triggers do", async () => {
    const { upload, manifest } = await storing();
    await faults({ match: "GET /files/", action: "down" });
    for (let n = 0; n < 3; n++) {
      await worker.step();
      vi.useFakeTimers({ now: Date.now() + 5 * minute, toFake: ["Date"] });
      await worker.tick();
      await worker.drain("inbox");
      expect(await sources()).toEqual([upload]);
    }
    await worker.drain();
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "optimizer_unavailable" } });
    worker.queue.length = 0;
    vi.useFakeTimers({ now: Date.now() + 5 * minute, toFake: ["Date"] });
    await worker.tick();
    await worker.drain("inbox");
    expect(await sources()).toEqual([upload]);
    await faults();
    await worker.owner(`/api/uploads/${upload}/retry`, { method: "POST" });
    await worker.drain();
    await expectDone(manifest, upload);
  });

  test("when an earlier attempt to hand it over ends as a refusal", async () => {
    const real = worker.env.OPTIMIZER as Fetcher;
    const asked = new Promise<(answer: Response) => void>((ask) => {
      worker.env.OPTIMIZER = { fetch: () => new Promise<Response>(ask) } as unknown as Fetcher;
    });
    const slow = worker.upload(await square());
    const refuse = await asked;
    const [upload = ""] = await sources();
    worker.env.OPTIMIZER = real;
    vi.useFakeTimers({ now: Date.now() + 7 * minute, toFake: ["Date"] });
    await worker.status(upload);
    const job = await finished(upload);
    await worker.webhook(job);
    refuse(Response.json({ code: "corrupt_image", detail: "No." }, { status: 422 }));
    await slow;
    expect(await sources()).toEqual([upload]);
    await worker.drain();
    await expectDone((job.output as { manifest: Manifest }).manifest, upload);
  });

  test("in direct mode, if the daemon writes somewhere else", async () => {
    const { upload, manifest } = await storing();
    worker.env.DIRECT = true;
    const bytes = await (await env.IMAGES.get(`inbox/${upload}`))?.arrayBuffer();
    const second = await again(bytes as ArrayBuffer);
    const other = await ended(await square());
    await worker.webhook(other.job);
    expect(await sources()).toEqual([upload, second, other.upload]);
    await worker.drain();
    await expectDone(manifest, upload, second);
    await expectDone(other.manifest, other.upload);
  });
});

describe("the source goes", () => {
  test("later, if it could not be deleted at the end", async () => {
    const { upload, manifest } = await storing();
    const real = worker.env.IMAGES;
    worker.env.IMAGES = new Proxy(real, {
      get: (bucket, name) =>
        name === "delete" ? () => Promise.reject(new Error("R2 is down")) : Reflect.get(bucket, name),
    });
    await worker.drain();
    worker.env.IMAGES = real;
    expect(await worker.status(upload)).toMatchObject({ status: "done" });
    expect(await sources()).toEqual([upload]);
    await trigger();
    await expectDone(manifest, upload);
  });

  test("at once, if the image is in R2 already", async () => {
    const bytes = await square();
    const { manifest, upload } = await storing(bytes);
    await worker.drain();
    const second = await again(bytes);
    await expectDone(manifest, upload, second);
  });

  test("once the daemon has written the files into the bucket itself", async () => {
    const bytes = await square();
    const { manifest, upload } = await storing(bytes);
    worker.env.DIRECT = true;
    await copyToBucket(manifest);
    const second = await again(bytes);
    await expectDone(manifest, upload, second);
  });

  test.each(["being stored", "failed"])(
    "with an image that is %s when it is deleted, also while the daemon is off",
    async (status) => {
      const { upload, manifest } = await storing();
      await stopDaemon();
      if (status === "failed") await worker.drain();
      expect(await sources()).toEqual([upload]);
      await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" });
      expect(await sources()).toEqual([]);
      await worker.drain();
      expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "deleted" } });
    },
  );

  test("from the daemon, too, if the image was deleted before it was made again", async () => {
    const { upload, manifest } = await storing();
    await lose(manifest);
    await worker.drain();
    await worker.status(upload); // the daemon gets it again
    await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" });
    await worker.webhook(await finished(upload));
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "deleted" } });
    expect(await sources()).toEqual([]);
    await expect(daemon(`/v1/images/${manifest.id}`)).rejects.toThrow("404");
  });
});

test("storing an image of 21 files takes no more operations than COSTS.md says", async () => {
  const counts: Record<string, number> = {};
  const { IMAGES: images } = worker.env;
  worker.env.IMAGES = new Proxy(images, {
    get(bucket, name) {
      const real = Reflect.get(bucket, name) as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => {
        counts[String(name)] = (counts[String(name)] ?? 0) + 1;
        return real(...args);
      };
    },
  });
  const bytes = await photo(bird, crypto.randomUUID());
  const { manifest, upload } = await storing(bytes);
  await worker.drain();
  expect(counts).toEqual({ put: 30, get: 10, delete: 1 });
  worker.env.IMAGES = images;
  await expectDone(manifest, upload);
});

test("a daemon that has lost its disk gets the image again", async () => {
  const { upload } = await worker.upload(await square());
  const job = await finished(upload);
  const real = worker.env.OPTIMIZER as Fetcher;
  let lost = 0;
  worker.env.OPTIMIZER = {
    fetch: (...args: Parameters<Fetcher["fetch"]>) =>
      String(args[0]).includes("/jobs/") && lost++ === 0
        ? Promise.resolve(Response.json({ code: "not_found", detail: "Gone." }, { status: 404 }))
        : real.fetch(...args),
  } as unknown as Fetcher;
  await worker.status(upload);
  await worker.status(upload);
  await worker.drain();
  await expectDone((job.output as { manifest: Manifest }).manifest, upload);
});
