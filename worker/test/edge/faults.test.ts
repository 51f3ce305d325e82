// Whatever breaks, the end is right, and nothing wrong is ever stored.

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Job, Manifest, ProblemBody } from "../../src/api";
import { readImage } from "../../src/state";
import {
  Worker,
  bird,
  daemon,
  empty,
  faults,
  finished,
  finishedJob,
  photo,
  seen,
  startDaemon,
  stateOf,
  stopDaemon,
  storedBird,
  storedFiles,
} from "./harness";

let worker: Worker;

beforeEach(async () => {
  worker = new Worker();
  await seen();
});
afterEach(async () => {
  await faults();
  await startDaemon();
  await empty();
});

/** An upload whose job has ended, which the Worker does not know yet. */
async function ended(name = bird): Promise<{ upload: string; job: Job; manifest: Manifest }> {
  const { upload } = await worker.upload(await photo(name, crypto.randomUUID()), name);
  const job = await finished(upload);
  return { upload, job, manifest: (job.output as { manifest: Manifest }).manifest };
}

async function expectDone(upload: string, manifest: Manifest): Promise<void> {
  expect(await worker.status(upload)).toMatchObject({ status: "done", stored: manifest.variants.length, error: null });
  expect(await storedFiles(manifest)).toHaveLength(manifest.variants.length);
  expect(await env.META.get(`image:${manifest.id}`)).not.toBeNull();
}

function kvWrites(): number {
  return worker.invocations.reduce((sum, invocation) => sum + invocation.kvWrites, 0);
}

describe("pulling", () => {
  test.each(["flip", "cut", "down", "chunked", "login"])("one file in the second part: %s", async (action) => {
    const { upload, job, manifest } = await ended();
    await worker.webhook(job);
    await faults({ match: "GET /files/", after: 10, times: 1, action });
    await worker.step();
    await worker.step();
    // That part comes again, later.
    expect(worker.queue).toContainEqual({
      body: { kind: "pull", image: manifest.id, run: expect.any(String) as string, from: 8 },
      attempts: 2,
      delaySeconds: 10,
    });
    expect(await worker.status(upload)).toMatchObject({ status: "storing", stored: 8 });
    expect((await storedFiles(manifest)).length).toBeLessThan(16);
    expect(await env.META.get(`image:${manifest.id}`)).toBeNull();
    await worker.drain();
    await expectDone(upload, manifest);
    expect(kvWrites()).toBe(1);
  });

  test("the daemon dies in the middle, and comes back", async () => {
    const { upload, job, manifest } = await ended();
    await worker.webhook(job);
    await faults({ match: "GET /files/", after: 12, times: 1, action: "kill" });
    await worker.step();
    await worker.step();
    await worker.step();
    expect(await worker.status(upload)).toMatchObject({ status: "storing", stored: 8 });
    expect(worker.queue.find(({ body }) => body.kind === "pull")).toMatchObject({ attempts: 3, delaySeconds: 20 });
    await startDaemon();
    await worker.drain();
    await expectDone(upload, manifest);
    expect(kvWrites()).toBe(1);
  });

  test("a daemon that stays away is given up, and another upload of the same photo completes it", async () => {
    const bytes = await photo(bird, crypto.randomUUID());
    const { upload } = await worker.upload(bytes);
    const job = await finished(upload);
    await worker.webhook(job);
    await stopDaemon();
    await worker.drain();
    expect(worker.invocations.filter(({ what }) => what.includes('"pull"'))).toHaveLength(21);
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "optimizer_unavailable" } });
    await startDaemon();
    const again = await worker.upload(bytes);
    await worker.drain();
    await expectDone(again.upload, (job.output as { manifest: Manifest }).manifest);
  });

  test("a daemon that stays away for days has its images pulled when it is back", async () => {
    const { upload, job, manifest } = await ended();
    await worker.webhook(job);
    await worker.step();
    await stopDaemon();
    await worker.drain();
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "optimizer_unavailable" } });
    await worker.tick();
    expect(worker.queue).toEqual([]);
    await startDaemon();
    await worker.tick();
    await worker.drain("leftovers");
    await worker.drain();
    await expectDone(upload, manifest);
    expect((await env.IMAGES.list({ prefix: "state/forget/" })).objects).toEqual([]);
    await worker.tick();
    expect(worker.queue).toEqual([]);
  });

  test("a pull that was given up begins again when its upload is retried", async () => {
    const { upload, job, manifest } = await ended();
    await worker.webhook(job);
    await stopDaemon();
    await worker.drain();
    await startDaemon();
    const response = await worker.owner(`/api/uploads/${upload}/retry`, { method: "POST" });
    expect(await response.json()).toMatchObject({ status: "storing" });
    await worker.drain();
    await expectDone(upload, manifest);
  });

  test("files that the daemon has no more are not waited for", async () => {
    const bytes = await photo("test_square.jpg", crypto.randomUUID());
    const { id } = await daemon<Job>("/v1/images", {
      method: "POST",
      body: bytes,
      headers: { Prefer: "respond-async" },
    });
    const job = await finishedJob(id);
    const { manifest } = job.output as { manifest: Manifest };
    await worker.webhook(job);
    await daemon(`/v1/images/${manifest.id}`, { method: "DELETE" });
    await worker.drain();
    expect(await readImage(worker.env, manifest.id)).toMatchObject({ status: "failed", error: { code: "not_found" } });
    expect(worker.queue).toEqual([]);
  });

  test("a message from before the image was deleted says nothing of its new life", async () => {
    const bytes = await photo(bird, crypto.randomUUID());
    const first = await finished((await worker.upload(bytes)).upload);
    const { manifest } = first.output as { manifest: Manifest };
    await worker.webhook(first);
    await worker.step(); // files 1 to 8
    const old = worker.queue.find(({ body }) => body.kind === "pull");
    if (!old) throw new Error("there is no second part");
    await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" });
    worker.queue.length = 0;
    const { upload } = await worker.upload(bytes);
    await worker.webhook(await finished(upload));
    await worker.handle(old);
    expect(await worker.status(upload)).toMatchObject({ status: "storing", stored: 0 });
    await worker.drain();
    await expectDone(upload, manifest);
  });

  test("what a part has stored of an image that was deleted meanwhile goes when it comes again", async () => {
    const { job, manifest } = await ended();
    await worker.webhook(job);
    await worker.step();
    const second = worker.queue.find(({ body }) => body.kind === "pull");
    if (!second) throw new Error("there is no second part");
    await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" });
    // As if that part had stored a file just after the deletion looked, and then failed.
    const [{ key }] = manifest.variants.slice(8) as [Manifest["variants"][number]];
    await env.IMAGES.put(key, "x");
    await env.META.put(`image:${manifest.id}`, "{}");
    await worker.handle(second);
    expect(await env.IMAGES.head(key)).toBeNull();
    expect(await env.META.get(`image:${manifest.id}`)).toBeNull();
  });

  test("every message comes twice, and an old one at the end", async () => {
    const { upload, job, manifest } = await ended();
    await worker.webhook(job);
    const first = worker.queue.find(({ body }) => body.kind === "pull");
    if (!first) throw new Error("nothing is to be pulled");
    for (let message = worker.queue.at(-1); message?.body.kind === "pull"; message = worker.queue.at(-1)) {
      await worker.step();
      await worker.handle(message);
    }
    await worker.handle(first);
    await expectDone(upload, manifest);
    expect(kvWrites()).toBe(1);
    expect((await seen()).filter((line) => line.startsWith("GET /files/"))).toHaveLength(21);
  });

  test("two chains at once store the same", async () => {
    const { upload, job, manifest } = await ended();
    await worker.webhook(job);
    await worker.webhook(job);
    await Promise.all([worker.step(), worker.step()]);
    await Promise.all([worker.step(), worker.step()]);
    await worker.drain();
    await expectDone(upload, manifest);
  });
});

describe("the webhook", () => {
  test("twice, and long after", async () => {
    const { upload, job, manifest } = await ended();
    expect((await worker.webhook(job)).status).toBe(204);
    await worker.drain();
    expect((await worker.webhook(job)).status).toBe(204);
    await worker.drain();
    await expectDone(upload, manifest);
    expect(kvWrites()).toBe(1);
    expect((await seen()).filter((line) => line.startsWith("GET /files/"))).toHaveLength(21);
  });

  test.each([
    ["another secret", { secret: `whsec_${btoa("somebody else's secret, as long")}` }],
    ["too old", { age: 301 }],
    ["from the future", { age: -310 }],
    ["another body", { body: "{}" }],
  ])("forged: %s", async (_, change) => {
    const { upload, job, manifest } = await ended("test_square.jpg");
    const response = await worker.webhook(job, change);
    expect(response.status).toBe(401);
    expect(await response.json<ProblemBody>()).toMatchObject({ code: "unauthorized" });
    expect(worker.queue.filter(({ body }) => body.kind === "pull")).toEqual([]);
    expect(await stateOf(upload)).toMatchObject({ image: null, error: null });
    expect(await storedFiles(manifest)).toEqual([]);
  });

  test("one of several secrets is enough", async () => {
    const { upload, job, manifest } = await ended("test_square.jpg");
    worker.env.WEBHOOK_SECRET = `whsec_${btoa("the next secret, not in use yet")} ${env.WEBHOOK_SECRET ?? ""}`;
    expect((await worker.webhook(job)).status).toBe(204);
    await worker.drain();
    await expectDone(upload, manifest);
  });

  test("without a secret nobody is believed", async () => {
    const { job } = await ended("test_square.jpg");
    worker.env.WEBHOOK_SECRET = "";
    expect((await worker.webhook(job)).status).toBe(401);
  });

  test("a manifest that names others' files ends the upload", async () => {
    const { upload, job, manifest } = await ended("test_square.jpg");
    const other = {
      ...manifest,
      variants: manifest.variants.map((variant) => ({
        ...variant,
        key: variant.key.replace(/^./, (c) => (c === "x" ? "y" : "x")),
      })),
    };
    const response = await worker.webhook({ ...job, output: { manifest: other, url: "http://x/" } });
    expect(response.status).toBe(204);
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "bad_manifest" } });
    expect(worker.queue.filter(({ body }) => body.kind === "pull")).toEqual([]);
  });

  test("an event of another shape is refused", async () => {
    const { job } = await ended("test_square.jpg");
    expect((await worker.webhook({ ...job, id: "../../state" })).status).toBe(400);
  });

  test("of an upload that nobody knows the image is stored all the same", async () => {
    const bytes = await photo("test_square.jpg", crypto.randomUUID());
    const job = await daemon<Job>("/v1/images", { method: "POST", body: bytes, headers: { Prefer: "respond-async" } });
    const end = await finishedJob(job.id);
    await worker.webhook(end);
    await worker.drain();
    const { manifest } = end.output as { manifest: Manifest };
    expect(await storedFiles(manifest)).toHaveLength(manifest.variants.length);
    expect(await env.META.get(`image:${manifest.id}`)).not.toBeNull();
  });

  test("of a job that failed", async () => {
    const { upload } = await worker.upload((await photo("test_square.jpg")).slice(0, 5000));
    const job = await finished(upload);
    expect(job.status).toBe("failed");
    expect((await worker.webhook(job)).status).toBe(204);
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: job.error });
  });
});

describe("deleting", () => {
  const remove = (id: string) => worker.owner(`/api/images/${id}`, { method: "DELETE" });

  test("takes the files, the entry and the daemon's copy", async () => {
    const manifest = await storedBird(worker);
    await worker.owner(`/images/${manifest.id}?w=320&f=webp&q=low`);
    expect((await remove(manifest.id)).status).toBe(204);
    const left = (await env.IMAGES.list()).objects.map(({ key }) => key).filter((key) => !key.startsWith("state/"));
    expect(left).toEqual([]);
    expect(await env.META.get(`image:${manifest.id}`)).toBeNull();
    await expect(daemon(`/v1/images/${manifest.id}`)).rejects.toThrow("404");
    expect((await worker.fetch(`/images/${manifest.id}?w=640`)).status).toBe(404);
    expect((await remove(manifest.id)).status).toBe(204);
  });

  test("while its files are pulled leaves none of them", async () => {
    const { upload, job, manifest } = await ended();
    await worker.webhook(job);
    await worker.step();
    const message = worker.queue.at(-1);
    // Between the reading of the state and its writing.
    const images = worker.env.IMAGES;
    let puts = 0;
    worker.env.IMAGES = new Proxy(images, {
      get(object, name) {
        if (name !== "put") return Reflect.get(object, name) as unknown;
        return async (...args: Parameters<R2Bucket["put"]>) => {
          const result = await object.put(...args);
          if (++puts === 8) {
            worker.env.IMAGES = images;
            await remove(manifest.id);
          }
          return result;
        };
      },
    });
    if (message) await worker.step();
    await worker.drain();
    expect(await storedFiles(manifest)).toEqual([]);
    expect(await env.META.get(`image:${manifest.id}`)).toBeNull();
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "deleted" } });
  });

  test("stays deleted when a late webhook comes, and is back when it is uploaded again", async () => {
    const bytes = await photo("test_square.jpg", crypto.randomUUID());
    const job = await finished((await worker.upload(bytes)).upload);
    const { manifest } = job.output as { manifest: Manifest };
    await worker.webhook(job);
    await worker.drain();
    await remove(manifest.id);
    await worker.webhook(job);
    await worker.drain();
    expect(await storedFiles(manifest)).toEqual([]);

    const { upload } = await worker.upload(bytes);
    await worker.webhook(await finished(upload));
    await worker.drain();
    await expectDone(upload, manifest);
  });

  test("with the daemon down, its copy goes later, and costs no messages until then", async () => {
    const manifest = await storedBird(worker);
    await stopDaemon();
    expect((await remove(manifest.id)).status).toBe(204);
    for (let n = 0; n < 3; n++) await worker.tick();
    expect(worker.queue).toEqual([]);
    await startDaemon();
    await worker.tick();
    await worker.drain("leftovers");
    await expect(daemon(`/v1/images/${manifest.id}`)).rejects.toThrow("404");
    expect((await env.IMAGES.list({ prefix: "state/forget/" })).objects).toEqual([]);
    for (const { external, internal } of worker.invocations) expect(external + internal).toBeLessThanOrEqual(20);
  });

  test("later does not reach an image that has been uploaded again", async () => {
    const bytes = await photo("test_square.jpg", crypto.randomUUID());
    const store = async () => {
      const { upload } = await worker.upload(bytes);
      const { job } = await stateOf(upload);
      if (job !== null) await worker.webhook(await finished(upload));
      await worker.drain();
      return (await stateOf(upload)).image ?? "";
    };
    const id = await store();
    await faults({ match: "DELETE /v1/images/", action: "down" });
    await remove(id);
    await faults();
    expect(await store()).toBe(id);
    await worker.tick();
    await worker.drain("leftovers");
    expect((await daemon<Manifest>(`/v1/images/${id}`)).id).toBe(id);
    expect((await env.IMAGES.list({ prefix: "state/forget/" })).objects).toEqual([]);
  });
});
