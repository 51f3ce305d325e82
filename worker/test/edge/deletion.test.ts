// Deletion reaches everything that was made of an image, wherever it is, however late.

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Job, Manifest } from "../../src/api";
import {
  Worker,
  daemon,
  empty,
  faults,
  finishedJob,
  ownerToken,
  photo,
  seen,
  startDaemon,
  stateOf,
  stopDaemon,
  storedBird,
} from "./harness";

let worker: Worker;
let manifest: Manifest;

beforeEach(async () => {
  worker = new Worker();
  manifest = await storedBird(worker);
  await seen();
});
afterEach(async () => {
  vi.unstubAllGlobals();
  await faults();
  await startDaemon();
  await empty();
});

const owner = { Authorization: `Bearer ${ownerToken}` };
const remove = (id: string) => worker.owner(`/api/images/${id}`, { method: "DELETE" });
const records = async () => (await env.IMAGES.list({ prefix: "state/forget/" })).objects.map(({ key }) => key);
/** Those of the daemon, which all test files share. */
async function sets(): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = "";
  do {
    const query: string = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page: { items: { id: string }[]; next: string | null } = await daemon(`/v1/images?limit=100${query}`);
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.next;
  } while (cursor !== null);
  return ids.sort();
}

/** Makes the daemon so slow that no job ends before the request that waits for it. Returns the jobs. */
function slow(): string[] {
  const jobs: string[] = [];
  const bodies = new Map<string, string>();
  const { OPTIMIZER: optimizer } = worker.env;
  worker.env.OPTIMIZER = {
    fetch: async (url: string, init: RequestInit) => {
      const { pathname } = new URL(url);
      const pending = bodies.get(pathname);
      if (pending) return new Response(pending, { headers: { "Content-Type": "application/json" } });
      const response = (await optimizer?.fetch(url, init)) as Response;
      if (pathname !== "/jobs" || !response.ok) return response;
      const job = await response.json<Job>();
      const text = JSON.stringify({ ...job, status: "processing", output: null, error: null, finished_at: null });
      jobs.push(job.id);
      bodies.set(`/jobs/${job.id}`, text);
      return new Response(text, response);
    },
  } as unknown as Fetcher;
  return jobs;
}

/** Requests variants that are made after their request has ended, in this many qualities. */
async function late(...qualities: string[]): Promise<Job[]> {
  const { OPTIMIZER: optimizer } = worker.env;
  const jobs = slow();
  for (const quality of qualities) {
    const response = await worker.fetch(`/images/${manifest.id}?w=640&f=webp&q=${quality}`, { headers: owner });
    expect([response.status, response.headers.get("X-From")]).toEqual([200, "fallback"]);
  }
  if (optimizer) worker.env.OPTIMIZER = optimizer;
  return Promise.all(jobs.map(finishedJob));
}

test("a variant that was made too late is taken over, and the daemon keeps no copy of it", async () => {
  const before = await sets();
  await late("high");
  expect(await sets()).toHaveLength(before.length + 1);
  await worker.tick();
  await worker.drain("leftovers");
  expect(await sets()).toEqual(before);
  expect(await records()).toEqual([]);
  await caches.default.delete(`https://gallery.example.com/images/${manifest.id}?w=640&f=webp&q=high`);
  expect((await worker.fetch(`/images/${manifest.id}?w=640&f=webp&q=high`)).headers.get("X-From")).toBe("r2");
});

test("of an image that was deleted before its variants were made nothing stays", async () => {
  const others = (await sets()).filter((id) => id !== manifest.id);
  await late("low", "high");
  expect((await remove(manifest.id)).status).toBe(204);
  await worker.tick();
  await worker.drain("leftovers");
  expect(others).toEqual(expect.arrayContaining(await sets())); // and what was made of it before is gone, too
  const left = (await env.IMAGES.list()).objects.map(({ key }) => key).filter((key) => !key.startsWith("state/"));
  expect(left).toEqual([]);
  expect(await records()).toEqual([]);
  for (const { external, internal } of worker.invocations) expect(external + internal).toBeLessThanOrEqual(20);
});

test("the same while the daemon is off, which costs no messages", async () => {
  const others = (await sets()).filter((id) => id !== manifest.id);
  await late("low", "high");
  await stopDaemon();
  await worker.tick(); // the first one completes the index
  await remove(manifest.id);
  // A message of version 0.1.
  await worker.handle({ body: { kind: "forget", image: manifest.id }, delaySeconds: 0, attempts: 1 });
  const { length } = worker.invocations;
  for (let n = 0; n < 5; n++) await worker.tick();
  expect(worker.queue).toEqual([]);
  for (const { external, internal } of worker.invocations.slice(length)) expect(external + internal).toBe(6);
  expect(await records()).toHaveLength(3);
  await startDaemon();
  await worker.tick();
  await worker.drain("leftovers");
  expect(others).toEqual(expect.arrayContaining(await sets())); // and what was made of it before is gone, too
  expect(await records()).toEqual([]);
});

test("a job that is still running is looked at again", async () => {
  const { OPTIMIZER: optimizer } = worker.env;
  const [job] = await late("high");
  slow();
  worker.env.OPTIMIZER = {
    fetch: (url: string, init: RequestInit) => {
      if (!url.includes(`/jobs/${job?.id}`)) return optimizer?.fetch(url, init);
      const pending = { ...job, status: "processing", output: null, error: null, finished_at: null };
      return Promise.resolve(Response.json(pending));
    },
  } as unknown as Fetcher;
  await worker.tick();
  await worker.drain("leftovers");
  expect(await records()).toEqual([`state/forget/${job?.id}`]);
  if (optimizer) worker.env.OPTIMIZER = optimizer;
  await worker.tick();
  await worker.drain("leftovers");
  expect(await records()).toEqual([]);
});

test("a job that the daemon has forgotten is not asked for again", async () => {
  await env.IMAGES.put(
    "state/forget/job_00000000000000000000000000",
    JSON.stringify({ id: manifest.id, set: manifest.id, width: 640, format: "webp", quality: "high" }),
  );
  await worker.tick();
  await worker.drain("leftovers");
  expect(await records()).toEqual([]);
});

test("a pull from a daemon that is gone for good ends", async () => {
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  const { job } = await stateOf(upload);
  await worker.webhook(await finishedJob(job ?? ""));
  await stopDaemon();
  await worker.drain();
  expect(worker.queue).toEqual([]);
});

test("with a token the edge forgets the image too, at once or when Cloudflare's API is back", async () => {
  worker.env.ZONE_ID = "a-zone";
  worker.env.PURGE_TOKEN = "a-token";
  const requests: { url: string; authorization: string | null; body: unknown }[] = [];
  let up = false;
  const { fetch: real } = globalThis;
  vi.stubGlobal("fetch", async (input: string, init: RequestInit) => {
    if (!input.startsWith("https://api.cloudflare.com/")) return real(input, init);
    const request = new Request(input, init);
    requests.push({
      url: request.url,
      authorization: request.headers.get("Authorization"),
      body: await request.json(),
    });
    return new Response("{}", { status: up ? 200 : 503 });
  });
  const purged = {
    url: "https://api.cloudflare.com/client/v4/zones/a-zone/purge_cache",
    authorization: "Bearer a-token",
    body: { tags: [manifest.id, "list"] },
  };
  expect((await remove(manifest.id)).status).toBe(204);
  await worker.tick();
  expect(requests).toEqual([purged, purged]);
  up = true;
  await worker.tick();
  await worker.tick();
  expect(requests).toEqual([purged, purged, purged]);
});

test("with an image those that became one with it are deleted, also at the edge and if R2 fails once", async () => {
  const alias = "b".repeat(26);
  const [own, other] = [manifest.id, alias].map((id) => `state/images/${id}.json`) as [string, string];
  const state = await (await env.IMAGES.get(own))?.json<object>();
  await env.IMAGES.put(own, JSON.stringify({ ...state, aliases: [alias] }));
  await env.IMAGES.put(other, JSON.stringify({ status: "alias", of: manifest.id }));
  worker.env.ZONE_ID = "a-zone";
  worker.env.PURGE_TOKEN = "a-token";
  const purged: unknown[] = [];
  const { fetch: real } = globalThis;
  vi.stubGlobal("fetch", async (input: string, init: RequestInit) => {
    if (!input.startsWith("https://api.cloudflare.com/")) return real(input, init);
    purged.push(await new Request(input, init).json());
    return new Response("{}");
  });
  const images = worker.env.IMAGES;
  worker.env.IMAGES = new Proxy(images, {
    get(bucket, name) {
      const call = Reflect.get(bucket, name) as (...args: unknown[]) => unknown;
      if (name !== "put") return call;
      return (...args: unknown[]) => (args[0] === other ? Promise.reject(new Error("R2 is down")) : call(...args));
    },
  });
  expect((await remove(manifest.id)).status).toBe(500);
  worker.env.IMAGES = images;
  expect((await remove(manifest.id)).status).toBe(204);
  expect(await (await env.IMAGES.get(other))?.json()).toMatchObject({ status: "deleted" });
  expect(purged).toEqual([{ tags: [manifest.id, alias, "list"] }]);
});

test("what the edge keeps has the image's tag, which visitors do not see", async () => {
  const path = `/images/${manifest.id}?w=320&f=webp`;
  expect((await worker.fetch(path)).headers.get("Cache-Tag")).toBeNull();
  const cached = await caches.default.match(`https://gallery.example.com${path}&q=medium`);
  expect(cached?.headers.get("Cache-Tag")).toBe(manifest.id);
  const hit = await worker.fetch(path);
  expect([hit.headers.get("X-From"), hit.headers.get("Cache-Tag")]).toEqual(["cache", null]);
});
