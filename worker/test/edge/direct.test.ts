// Direct mode: the daemon writes into the Worker's bucket itself. Here the tests do it in
// its place, file by file, to count and to interrupt; test/node/direct.test.ts has the
// daemon's own S3 client.

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ImageList, Job, Manifest } from "../../src/api";
import {
  Worker,
  bird,
  copyToBucket,
  daemon,
  empty,
  faults,
  finished,
  finishedJob,
  ownerToken,
  photo,
  report,
  seen,
  startDaemon,
  stopDaemon,
  storedFiles,
} from "./harness";

const authorization = { Authorization: "Bearer a-token-of-the-tests-alone" };
let worker: Worker;

beforeEach(async () => {
  worker = new Worker({ DIRECT: true });
  await seen();
});
afterEach(async () => {
  await faults();
  await startDaemon();
  await empty();
});

/** An upload whose image is in the bucket, which the Worker does not know yet. */
async function ended(bytes?: ArrayBuffer): Promise<{ upload: string; job: Job; manifest: Manifest }> {
  const { upload } = await worker.upload(bytes ?? (await photo(bird, crypto.randomUUID())), "red_bird.jpg");
  const job = await finished(upload);
  const { manifest } = job.output as { manifest: Manifest };
  await copyToBucket(manifest);
  return { upload, job, manifest };
}

async function listed(): Promise<string[]> {
  const { images } = await (await worker.owner("/api/images?view=compact")).json<ImageList>();
  return images.map(({ id }) => id);
}

test("nothing is pulled, and no message is sent", async () => {
  const { upload, job, manifest } = await ended();
  await seen();
  worker.invocations.length = 0;
  expect((await worker.webhook(job)).status).toBe(204);
  expect(worker.queue).toEqual([]);
  // The image: its state, KV, the index, and a look at the bucket. The upload it came
  // by: read, changed twice (read and written), and its bytes deleted.
  expect(worker.invocations.at(-1)).toMatchObject({ external: 0, internal: 8, kvWrites: 1 });
  console.log(report(worker.invocations));
  expect(await worker.status(upload)).toMatchObject({ status: "done", stored: 21, total: 21, error: null });
  expect(await listed()).toEqual([manifest.id]);
  for (const { width, format, bytes } of manifest.variants) {
    const response = await worker.fetch(`/images/${manifest.id}?w=${width}&f=${format}`);
    expect([response.status, response.headers.get("X-From")]).toEqual([200, "r2"]);
    expect(response.headers.get("Content-Length")).toBe(String(bytes));
  }
  expect(await seen()).toEqual([]);
  expect((await env.IMAGES.list({ prefix: "inbox/" })).objects).toEqual([]);
});

test("an image that the index did not take at once", async () => {
  const { job, manifest } = await ended();
  await worker.owner("/api/images"); // the index begins
  const { INDEX: index } = worker.env as { INDEX: D1Database };
  worker.env.INDEX = new Proxy(index, {
    get(object, name) {
      if (name === "batch") return () => Promise.reject(new Error("D1_ERROR: overloaded"));
      const value: unknown = Reflect.get(object, name);
      return typeof value === "function" ? (value.bind(object) as unknown) : value;
    },
  });
  expect((await worker.webhook(job)).status).toBe(500);
  worker.env.INDEX = index;
  // The daemon sends it again.
  expect((await worker.webhook(job)).status).toBe(204);
  expect(await listed()).toEqual([manifest.id]);
  const found = await worker.fetch("/api/images?view=compact&q=red");
  expect((await found.json<ImageList>()).images.map(({ id }) => id)).toEqual([manifest.id]);
});

test.each([
  ["with an index", true, 4],
  ["without one", false, 3],
])("an image that was not uploaded here, %s", async (_, indexed, requests) => {
  if (!indexed) {
    const { INDEX: _, ...others } = worker.env;
    worker.env = others;
  }
  const bytes = await photo("test_square.jpg", crypto.randomUUID());
  const { id } = await daemon<Job>("/v1/images", { method: "POST", body: bytes, headers: { Prefer: "respond-async" } });
  const job = await finishedJob(id);
  const { manifest } = job.output as { manifest: Manifest };
  await copyToBucket(manifest);
  await worker.webhook(job);
  expect(worker.invocations.at(-1)).toMatchObject({ external: 0, internal: requests, kvWrites: 1 });
  expect(worker.queue).toEqual([]);
  expect(await listed()).toEqual([manifest.id]);
});

test("the webhook twice, and long after, costs no second write", async () => {
  const { job, manifest } = await ended();
  await worker.webhook(job);
  await worker.owner(`/api/images/${manifest.id}`, { method: "PATCH", body: '{"title": "A bird"}' });
  const before = await env.META.get(`image:${manifest.id}`);
  worker.invocations.length = 0;
  await worker.webhook(job);
  const unknown = await worker.webhook(job, { id: "msg_of_nobody" });
  expect(unknown.status).toBe(204);
  expect(worker.invocations.reduce((sum, { kvWrites }) => sum + kvWrites, 0)).toBe(0);
  expect(await env.META.get(`image:${manifest.id}`)).toBe(before);
});

test("a Worker that dies before it has published does so when the webhook comes again", async () => {
  const { upload, job, manifest } = await ended();
  const { META: meta } = worker.env;
  worker.env.META = new Proxy(meta, {
    get: (object, name) => (name === "put" ? () => Promise.reject(new Error("KV is away")) : Reflect.get(object, name)),
  });
  expect((await worker.webhook(job)).status).toBe(500);
  worker.env.META = meta;
  expect((await worker.webhook(job)).status).toBe(204);
  expect(await worker.status(upload)).toMatchObject({ status: "done" });
  expect(await listed()).toEqual([manifest.id]);
});

test("a daemon that does not write into this bucket is pulled from", async () => {
  const { upload } = await worker.upload(await photo(bird, crypto.randomUUID()));
  const job = await finished(upload);
  const { manifest } = job.output as { manifest: Manifest };
  await worker.webhook(job);
  expect(await worker.status(upload)).toMatchObject({ status: "storing", stored: 0 });
  await worker.drain();
  expect(await worker.status(upload)).toMatchObject({ status: "done", stored: 21 });
  expect(await storedFiles(manifest)).toHaveLength(21);
});

test("a variant on demand is taken out of the bucket, and the daemon's set of it deleted", async () => {
  const { job, manifest } = await ended();
  await worker.webhook(job);
  // As the daemon does before it answers.
  const { OPTIMIZER: optimizer } = worker.env;
  worker.env.OPTIMIZER = {
    fetch: async (url: string, init: RequestInit) => {
      const response = (await optimizer?.fetch(url, init)) as Response;
      if (!/\/jobs(\/|$)/.test(new URL(url).pathname) || !response.ok) return response;
      const text = await response.text();
      const { output } = JSON.parse(text) as Job;
      if (output && "sha256" in output) {
        const key = /\/files\/(.+)$/.exec(output.url)?.[1] ?? "";
        const file = await optimizer?.fetch(`http://x/files/${key}`, { headers: authorization });
        await env.IMAGES.put(key, (await file?.arrayBuffer()) as ArrayBuffer);
      }
      return new Response(text, response);
    },
  } as unknown as Fetcher;
  await seen();
  const response = await worker.fetch(`/images/${manifest.id}?w=640&f=webp&q=high`, {
    headers: { Authorization: `Bearer ${ownerToken}` },
  });
  expect([response.status, response.headers.get("X-From")]).toEqual([200, "optimizer"]);
  const object = await env.IMAGES.head(`${manifest.id}/q-high/640.webp`);
  expect(object?.httpMetadata?.contentType).toBe("image/webp");
  const requests = (await seen()).map((line) => line.replace(/[a-z2-7]{26}|job_\w+/, "…").replace(/\/\d.*/, ""));
  expect(requests.filter((line) => line.startsWith("DELETE"))).toEqual(["DELETE /v1/images/…"]);
});

test("a deletion takes what the daemon has written, also while the daemon is off", async () => {
  const { job, manifest } = await ended();
  await worker.webhook(job);
  await env.IMAGES.put(`originals/${manifest.id}`, "the photo, with its place");
  await stopDaemon();
  expect((await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" })).status).toBe(204);
  const keys = (await env.IMAGES.list()).objects.map(({ key }) => key).filter((key) => !key.startsWith("state/"));
  expect(keys).toEqual([]);
  expect(await listed()).toEqual([]);
  await worker.webhook(job);
  expect(await listed()).toEqual([]);
});

test("a deletion during the webhook leaves no entry", async () => {
  const { job, manifest } = await ended();
  const { META: meta } = worker.env;
  worker.env.META = new Proxy(meta, {
    get(object, name) {
      if (name !== "put") return Reflect.get(object, name) as unknown;
      return async (...args: Parameters<KVNamespace["put"]>) => {
        worker.env.META = meta;
        await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" });
        await meta.put(...args);
      };
    },
  });
  await worker.webhook(job);
  expect(await env.META.get(`image:${manifest.id}`)).toBeNull();
  expect(await listed()).toEqual([]);
});

test("a photo that was deleted while the daemon was off can be uploaded again", async () => {
  const bytes = await photo("test_square.jpg", crypto.randomUUID());
  const first = await ended(bytes);
  await worker.webhook(first.job);
  await faults({ match: "DELETE /v1/images/", action: "down" });
  await worker.owner(`/api/images/${first.manifest.id}`, { method: "DELETE" });
  await faults();
  // The daemon believes that it still has the files.
  const again = await ended(bytes);
  await worker.webhook(again.job);
  expect(await worker.status(again.upload)).toMatchObject({ status: "done", duplicate: false });
  expect(await storedFiles(again.manifest)).toHaveLength(again.manifest.variants.length);
  await worker.tick();
  await worker.drain("leftovers");
  expect((await daemon<Manifest>(`/v1/images/${again.manifest.id}`)).id).toBe(again.manifest.id);
});
