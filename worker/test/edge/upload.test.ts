// Uploads arrive, whatever the daemon does.

import { env } from "cloudflare:workers";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Job, Manifest, ProblemBody, Upload, UploadAccepted, UploadParts } from "../../src/api";
import { idPrefix, newUpload } from "../../src/inbox";
import { createUpload } from "../../src/state";
import {
  Worker,
  daemon,
  empty,
  faults,
  finished,
  lengthOf,
  ownerToken,
  photo,
  report,
  seen,
  sha256,
  startDaemon,
  stateOf,
  stopDaemon,
  storedFiles,
} from "./harness";

let worker: Worker;

beforeEach(async () => {
  worker = new Worker();
  await seen();
});
afterEach(async () => {
  vi.useRealTimers();
  await faults();
  await startDaemon();
  await empty();
});

/** The clock of the Worker, from now on ahead by this. */
function pass(ms: number): void {
  vi.useFakeTimers({ now: Date.now() + ms, toFake: ["Date"] });
}
const minute = 60_000;
const day = 24 * 60 * minute;

/** Handles all messages, as the queue does. */
async function work(): Promise<void> {
  while ((await worker.step("inbox")) || (await worker.step("pull")));
}

async function manifestOf(upload: string): Promise<Manifest> {
  const { output } = await finished(upload);
  return (output as { manifest: Manifest }).manifest;
}

async function expectDone(upload: string): Promise<void> {
  const status = await worker.status(upload);
  expect(status).toMatchObject({ status: "done", error: null });
  const manifest = await daemon<Manifest>(`/v1/images/${status.image?.id ?? ""}`);
  expect(await storedFiles(manifest)).toHaveLength(manifest.variants.length);
  expect((await env.IMAGES.list({ prefix: "inbox/" })).objects).toEqual([]);
}

/** From now on nothing can be written to R2 under this key. */
function failing(key: string): void {
  const images = worker.env.IMAGES;
  worker.env.IMAGES = new Proxy(images, {
    get(bucket, name) {
      const real = Reflect.get(bucket, name) as (...args: unknown[]) => unknown;
      if (name !== "put") return real;
      return (...args: unknown[]) => (args[0] === key ? Promise.reject(new Error("R2 is down")) : real(...args));
    },
  });
}

function post(bytes: ArrayBuffer, headers: Record<string, string> = {}): Promise<Response> {
  return worker.owner("/api/images?filename=a.jpg", {
    method: "POST",
    body: bytes,
    headers: { ...lengthOf(bytes), ...headers },
  });
}

test("the daemon is off for all of twelve uploads, and then on: all of them arrive by themselves", async () => {
  await stopDaemon();
  const uploads: string[] = [];
  for (let n = 0; n < 12; n++) {
    const { httpStatus, upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
    expect(httpStatus).toBe(202);
    uploads.push(upload);
  }
  expect(await worker.status(uploads[0] as string)).toMatchObject({
    status: "saved",
    error: { code: "optimizer_unavailable" },
  });
  pass(10 * minute);
  // While the daemon is off, nothing is enqueued.
  await worker.tick();
  expect(worker.queue).toEqual([]);

  await startDaemon();
  await worker.tick();
  await work();
  for (const upload of uploads) await finished(upload);
  pass(10 * minute);
  await worker.tick(); // no webhook has come
  await work();
  for (const upload of uploads) await expectDone(upload);
  const invocations = worker.invocations.filter(({ what }) => what.includes('"inbox"'));
  console.log(report(invocations));
  for (const { external, internal } of invocations) expect(external + internal).toBeLessThanOrEqual(20);
});

test("a page that follows its upload needs neither webhook nor tick", async () => {
  await stopDaemon();
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  await startDaemon();
  pass(minute);
  expect(await worker.status(upload)).toMatchObject({ status: "working" });
  await finished(upload);
  expect(await worker.status(upload)).toMatchObject({ status: "storing" });
  await work();
  await expectDone(upload);
});

test("a daemon that is off is asked less and less often", async () => {
  pass(0);
  await faults({ match: "POST /v1/images", action: "down" });
  const { upload } = await worker.upload(await photo("test_square.jpg"));
  await seen();
  for (let second = 0; second < 600; second += 5) {
    await worker.status(upload);
    pass(5_000);
  }
  const attempts = (await seen()).filter((line) => line.startsWith("POST /v1/images"));
  // After 5, 10, 20 … 300 seconds.
  expect(attempts.length).toBeGreaterThanOrEqual(5);
  expect(attempts.length).toBeLessThanOrEqual(8);
});

test("a busy daemon is given the time that it asks for", async () => {
  pass(0); // and no time passes by itself
  const real = worker.env.OPTIMIZER as Fetcher;
  worker.env.OPTIMIZER = {
    fetch: (...args: Parameters<Fetcher["fetch"]>) =>
      String(args[0]).includes("/v1/images")
        ? Promise.resolve(
            Response.json({ code: "queue_full", detail: "Full." }, { status: 429, headers: { "Retry-After": "120" } }),
          )
        : real.fetch(...args),
  } as unknown as Fetcher;
  const { httpStatus, upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  expect(httpStatus).toBe(202);
  worker.env.OPTIMIZER = real;
  pass(119_000);
  expect(await worker.status(upload)).toMatchObject({ status: "saved", error: { code: "queue_full" } });
  pass(2_000);
  expect(await worker.status(upload)).toMatchObject({ status: "working", error: null });
});

test("after 14 days it is a failure, whose bytes are kept and can be tried again", async () => {
  await stopDaemon();
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  pass(14 * day + minute);
  const status = await worker.status(upload);
  expect(status).toMatchObject({ status: "failed", error: { code: "optimizer_unavailable" } });
  expect(await env.IMAGES.head(`inbox/${upload}`)).not.toBeNull();
  await startDaemon();
  await worker.tick();
  expect(worker.queue).toEqual([]);
  await worker.owner(`/api/uploads/${upload}/retry`, { method: "POST" });
  await worker.webhook(await finished(upload));
  await work();
  await expectDone(upload);
});

test("a retry after 14 days is followed to its end without a webhook", async () => {
  await stopDaemon();
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  pass(14 * day + minute);
  await startDaemon();
  const again = await worker.owner(`/api/uploads/${upload}/retry`, { method: "POST" });
  expect(await again.json<Upload>()).toMatchObject({ status: "working", error: null });
  await finished(upload);
  await worker.status(upload);
  await work();
  await expectDone(upload);
});

test("a thousand uploads that nobody waits for any more hide no later one", async () => {
  const expired = Array.from({ length: 1001 }, (_, n) => `up_000000001${String(n).padStart(16, "0")}`);
  for (let from = 0; from < expired.length; from += 50) {
    await Promise.all(expired.slice(from, from + 50).map((id) => env.IMAGES.put(`inbox/${id}`, "")));
  }
  const images = worker.env.IMAGES;
  worker.env.IMAGES = new Proxy(images, {
    get(bucket, name) {
      if (name !== "list") return Reflect.get(bucket, name) as unknown;
      return async (options: R2ListOptions) => {
        const { objects, ...rest } = await bucket.list(options);
        const uploadedOf = ({ key, uploaded }: R2Object) =>
          key.startsWith("inbox/up_000000001") ? new Date(1) : uploaded;
        return { ...rest, objects: objects.map((one) => ({ key: one.key, uploaded: uploadedOf(one) })) };
      };
    },
  });
  await faults({ match: "POST /v1/images", action: "down", times: 1 });
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  pass(2 * minute);
  await worker.tick();
  await work();
  expect((await stateOf(upload)).job).not.toBeNull();
  expect(await env.IMAGES.head(`inbox/${expired[0]}`)).not.toBeNull();
});

describe("many uploads wait", () => {
  /** Puts uploads into the inbox; withDaemon: that it has. */
  async function fill(count: number, withDaemon = false): Promise<string[]> {
    const ids = Array.from({ length: count }, (_, n) => `${idPrefix(Date.now())}${String(n).padStart(16, "0")}`);
    const state = newUpload({ filename: "a.jpg", bytes: 1, sha256: null, site: "https://x", multipart: null });
    for (const id of ids) {
      await env.IMAGES.put(`inbox/${id}`, "x");
      await createUpload(worker.env, id, { ...state, job: withDaemon ? `job_${id}` : null });
    }
    return ids;
  }

  /** A daemon that takes so many uploads and refuses the others, and never ends a job. Returns what it was asked. */
  function stub(room: number): { asked: string[]; setRoom: (uploads: number) => void } {
    const asked: string[] = [];
    const job = { ...template, status: "processing", output: null, finished_at: null };
    worker.env.OPTIMIZER = {
      fetch: (url: string, init: RequestInit) => {
        const path = new URL(url).pathname;
        asked.push(`${init.method ?? "GET"} ${path}`);
        if (path !== "/v1/images") return Promise.resolve(Response.json(job));
        if (room-- > 0) return Promise.resolve(Response.json(job, { status: 202 }));
        return Promise.resolve(Response.json({ code: "queue_full", detail: "Full." }, { status: 429 }));
      },
    } as unknown as Fetcher;
    return { asked, setRoom: (uploads) => (room = uploads) };
  }

  let template: Job;
  beforeAll(async () => {
    const { upload } = await new Worker().upload(await photo("test_square.jpg", crypto.randomUUID()));
    template = await finished(upload);
    await empty();
  });

  /** One trigger and its messages; returns how many of them there were. */
  async function trigger(): Promise<number> {
    pass(5 * minute);
    const before = worker.invocations.length;
    await worker.tick();
    await worker.drain("inbox");
    const messages = worker.invocations.slice(before).filter(({ what }) => what.includes('"inbox"'));
    for (const { external, internal } of messages) expect(external + internal).toBeLessThanOrEqual(20);
    return messages.length;
  }

  test("those that the daemon works on cost two messages per trigger, and are all asked after in turn", async () => {
    const ids = await fill(100, true);
    const { asked } = stub(0);
    const counts: number[] = [];
    for (let n = 0; n < 13; n++) counts.push(await trigger());
    expect(Math.max(...counts)).toBe(2);
    const jobs = asked.filter((line) => line.startsWith("GET /jobs/")).map((line) => line.slice("GET /jobs/".length));
    expect(new Set(jobs)).toEqual(new Set(ids.map((id) => `job_${id}`)));
  });

  test("a daemon that takes them has them all after one trigger, each once", async () => {
    const ids = await fill(50);
    const { asked } = stub(ids.length);
    expect(await trigger()).toBeLessThanOrEqual(ids.length / 2 + 2);
    expect(asked.filter((line) => line.startsWith("POST"))).toHaveLength(ids.length);
  });

  test("a daemon that has no room is asked once per trigger, and gets the others when it has", async () => {
    const ids = await fill(30);
    const { asked, setRoom } = stub(10);
    await trigger();
    for (let n = 0; n < 8; n++) {
      asked.length = 0;
      expect(await trigger()).toBe(1);
      expect(asked.filter((line) => line.startsWith("POST"))).toHaveLength(1);
    }
    setRoom(100);
    await trigger();
    for (const id of ids) expect((await stateOf(id)).job).not.toBeNull();
  });

  test("a walk that is under way is not begun again, and one that has died is", async () => {
    const ids = await fill(30);
    stub(ids.length);
    pass(5 * minute);
    await worker.tick();
    await worker.tick();
    expect(worker.queue).toHaveLength(1);
    const [lost] = worker.queue.splice(0);
    pass(11 * minute);
    await worker.tick();
    if (lost) await worker.handle(lost);
    expect(worker.queue).toHaveLength(1);
    await worker.drain("inbox");
    for (const id of ids) expect((await stateOf(id)).job).not.toBeNull();
  });

  test("what the daemon cannot take keeps nothing else from it", async () => {
    const ids = await fill(30);
    stub(100);
    const { OPTIMIZER: real } = worker.env;
    const large = new Set(ids.slice(0, 5));
    worker.env.OPTIMIZER = {
      fetch: (url: string, init: RequestInit) =>
        large.has(/upload=(\w+)/.exec(decodeURIComponent(url))?.[1] ?? "")
          ? Promise.reject(new Error("Network connection lost."))
          : real?.fetch(url, init),
    } as unknown as Fetcher;
    for (let n = 0; n < 3; n++) await trigger();
    for (const id of ids) expect([id, (await stateOf(id)).job === null]).toEqual([id, large.has(id)]);
  });

  test("one that cannot even be read keeps no other from the daemon", async () => {
    const [broken = "", ...others] = await fill(10);
    await env.IMAGES.put(`state/uploads/${broken}.json`, "{");
    stub(others.length);
    await trigger();
    for (const id of others) expect((await stateOf(id)).job).not.toBeNull();
    expect(await env.IMAGES.head(`inbox/${broken}`)).not.toBeNull();
  });
});

const problem = (status: number, code: string) => () => Response.json({ status, code, detail: "No." }, { status });

describe("what says nothing of the image ends no upload", () => {
  test.each([
    ["a daemon without secrets for webhooks", problem(400, "invalid_request")],
    ["bytes that were damaged on their way", problem(400, "digest_mismatch")],
    ["a daemon for another host name", problem(421, "misdirected_request")],
    ["another server at its address", () => new Response("<h1>Bad Request</h1>", { status: 400 })],
    ["another service", () => new Response("", { status: 422 })],
  ])("%s", async (_, answer) => {
    const optimizer = worker.env.OPTIMIZER as Fetcher;
    worker.env.OPTIMIZER = { fetch: () => Promise.resolve(answer()) } as unknown as Fetcher;
    const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
    expect(await worker.status(upload)).toMatchObject({
      status: "saved",
      error: { code: expect.any(String) as string },
    });
    worker.env.OPTIMIZER = optimizer;
    await worker.owner(`/api/uploads/${upload}/retry`, { method: "POST" });
    await worker.webhook(await finished(upload));
    await worker.drain();
    expect(await worker.status(upload)).toMatchObject({ status: "done" });
  });
});

test("Access asks for a login: it is not followed, and the page says what is wrong", async () => {
  await faults({ match: "POST /v1/images", action: "login" });
  const { upload } = await worker.upload(await photo("test_square.jpg"));
  expect(await worker.status(upload)).toMatchObject({ status: "saved", error: { code: "optimizer_refused" } });
});

test("the daemon's answer is cut off: the image arrives all the same", async () => {
  await faults({ match: "POST /v1/images", action: "cut", times: 1 });
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  pass(minute);
  await worker.status(upload);
  const { job, image } = await stateOf(upload);
  expect(job ?? image).not.toBeNull();
  if (job !== null) await worker.webhook(await finished(upload));
  await work();
  await expectDone(upload);
});

test("the webhook may come before the daemon's answer is written", async () => {
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  const job = await finished(upload);
  const state = await stateOf(upload);
  await env.IMAGES.put(`state/uploads/${upload}.json`, JSON.stringify({ ...state, job: null }));
  await worker.webhook(job);
  await work();
  await expectDone(upload);
});

describe("what is refused", () => {
  test("too large is, before anything is read", async () => {
    worker.env.MAX_UPLOAD_BYTES = 1000;
    const bytes = await photo("test_square.jpg");
    const response = await post(bytes);
    expect(response.status).toBe(413);
    expect(await response.json<ProblemBody>()).toMatchObject({ code: "too_large", status: 413 });
    expect(worker.invocations.at(-1)).toMatchObject({ external: 0, internal: 0 });
    const parts = await worker.owner("/api/uploads", { method: "POST", body: JSON.stringify({ bytes: 1001 }) });
    expect(parts.status).toBe(413);
  });

  test("bytes with another digest are, and nothing is kept", async () => {
    const bytes = await photo("test_square.jpg");
    for (const [digest, status] of [
      [`sha-256=:${btoa("x".repeat(32))}:`, 400],
      ["sha-256=nonsense", 400],
      [digestOf(await sha256(bytes)), 202],
    ] as const) {
      const response = await post(bytes, { "Content-Digest": digest });
      expect([digest, response.status]).toEqual([digest, status]);
      if (status === 400) expect((await env.IMAGES.list()).objects).toEqual([]);
    }
  });

  test("a body that is cut off leaves nothing behind", async () => {
    const { readable, writable } = new FixedLengthStream(1000);
    const writer = writable.getWriter();
    const sending = writer.write(new Uint8Array(500)).then(() => writer.abort("hung up"));
    const response = await worker.owner("/api/images", {
      method: "POST",
      body: readable,
      headers: { "Content-Length": "1000" },
    });
    await sending.catch(() => {});
    expect(response.status).toBe(500);
    expect((await env.IMAGES.list()).objects).toEqual([]);
  });

  test("what is no image is the daemon's to refuse, once", async () => {
    const bytes = await new Blob(["<svg xmlns='http://www.w3.org/2000/svg'/>"]).arrayBuffer();
    const { upload } = await worker.upload(bytes);
    expect(await worker.status(upload)).toMatchObject({ status: "failed", error: { code: "unsupported_format" } });
    expect((await env.IMAGES.list({ prefix: "inbox/" })).objects).toEqual([]);
  });

  test("uploads are the owner's alone", async () => {
    for (const [method, path] of [
      ["POST", "/api/uploads"],
      ["POST", `/api/uploads/up_${"0".repeat(25)}`],
      ["POST", `/api/uploads/up_${"0".repeat(25)}/retry`],
      ["PUT", `/api/uploads/up_${"0".repeat(25)}/1`],
    ] as const) {
      const response = await worker.fetch(path, { method });
      expect([method, path, response.status]).toEqual([method, path, 401]);
    }
  });
});

function digestOf(hex: string): string {
  const bytes = (hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
  return `sha-256=:${btoa(String.fromCharCode(...bytes))}:`;
}

describe("in parts", () => {
  const partBytes = 8 << 20;

  async function start(bytes: number): Promise<UploadParts> {
    const response = await worker.owner("/api/uploads", {
      method: "POST",
      body: JSON.stringify({ filename: "large.jpg", bytes }),
    });
    expect(response.status).toBe(201);
    return response.json<UploadParts>();
  }

  function put(upload: string, part: number, body: ArrayBuffer): Promise<Response> {
    return worker.owner(`/api/uploads/${upload}/${part}`, { method: "PUT", body, headers: lengthOf(body) });
  }

  test("a large file arrives, and a part that was dropped is sent again", async () => {
    // A photo with so much behind its end that it has three parts.
    const photoBytes = await photo("test_square.jpg", crypto.randomUUID());
    const bytes = await new Blob([photoBytes, new Uint8Array(2 * partBytes)]).arrayBuffer();
    const { upload, part_bytes, parts } = await start(bytes.byteLength);
    expect([part_bytes, parts]).toEqual([partBytes, 3]);
    // Neither complete, nor known to the daemon.
    expect((await worker.owner(`/api/uploads/${upload}`)).status).toBe(404);
    const etags: string[] = [];
    for (const part of [1, 2, 2, 3]) {
      const body = bytes.slice((part - 1) * partBytes, part * partBytes);
      const response = await put(upload, part, body);
      expect(response.status).toBe(200);
      etags[part - 1] = (await response.json<{ etag: string }>()).etag;
    }
    const complete = () => worker.owner(`/api/uploads/${upload}`, { method: "POST", body: JSON.stringify({ etags }) });
    expect((await complete()).status).toBe(202);
    expect((await complete()).status).toBe(202); // its answer was lost, perhaps
    const manifest = await manifestOf(upload);
    expect(manifest.source.sha256).toBe(await sha256(bytes));
    expect(manifest.source.filename).toBe("large.jpg");
    await worker.status(upload);
    await work();
    await expectDone(upload);
    for (const { external, internal } of worker.invocations) expect(external + internal).toBeLessThanOrEqual(20);
  });

  /** Sends a photo in one part; the request that completes it dies before it can record that. */
  async function completedAndDied(): Promise<{ upload: string; complete: () => Promise<Response> }> {
    const bytes = await photo("test_square.jpg", crypto.randomUUID());
    const { upload } = await start(bytes.byteLength);
    const { etag } = await (await put(upload, 1, bytes)).json<{ etag: string }>();
    const body = JSON.stringify({ etags: [etag] });
    const complete = () => worker.owner(`/api/uploads/${upload}`, { method: "POST", body });
    const real = worker.env.IMAGES;
    failing(`state/uploads/${upload}.json`);
    expect((await complete()).status).toBe(500);
    worker.env.IMAGES = real;
    return { upload, complete };
  }

  test("a completion that died can be repeated", async () => {
    const { upload, complete } = await completedAndDied();
    expect((await complete()).status).toBe(202);
    await worker.webhook(await finished(upload));
    await work();
    await expectDone(upload);
  });

  test("a completion that died and is never repeated is found by the trigger", async () => {
    const { upload } = await completedAndDied();
    pass(2 * minute);
    await worker.tick();
    await work();
    await worker.webhook(await finished(upload));
    await work();
    await expectDone(upload);
  });

  test("of an upload whose parts R2 has deleted meanwhile, the client gets to know that", async () => {
    const { upload } = await start(10);
    const { multipart } = await stateOf(upload);
    await env.IMAGES.resumeMultipartUpload(`inbox/${upload}`, multipart ?? "").abort();
    expect((await put(upload, 1, new ArrayBuffer(10))).status).toBe(404);
  });

  test("wrong parts and wrong etags are refused", async () => {
    const { upload } = await start(partBytes + 10);
    const small = new ArrayBuffer(10);
    expect((await put(upload, 1, small)).status).toBe(400);
    expect((await put(upload, 3, small)).status).toBe(400);
    expect((await put(`up_${"0".repeat(25)}`, 1, small)).status).toBe(404);
    const complete = async (etags: unknown) =>
      (await worker.owner(`/api/uploads/${upload}`, { method: "POST", body: JSON.stringify({ etags }) })).status;
    expect(await complete(["x"])).toBe(400);
    expect(await complete([1, 2])).toBe(400);
    expect(await complete(["x", "y"])).toBe(409);
    expect((await put(upload, 2, small)).status).toBe(200);
  });
});

test("the status is only known to the owner, and only of uploads that exist", async () => {
  const { upload } = await worker.upload(await photo("test_square.jpg"));
  expect((await worker.fetch(`/api/uploads/${upload}`)).status).toBe(401);
  const headers = { Authorization: `Bearer ${ownerToken}` };
  expect((await worker.fetch(`/api/uploads/${upload}`, { headers })).status).toBe(200);
  for (const id of [`up_${"0".repeat(25)}`, "x".repeat(5000)]) {
    for (const [method, path] of [
      ["GET", id],
      ["POST", id],
      ["PUT", `${id}/1`],
      ["POST", `${id}/retry`],
    ] as const) {
      const body = method === "GET" ? null : "{}";
      expect((await worker.fetch(`/api/uploads/${path}`, { method, headers, body })).status).toBe(404);
    }
  }
  expect((await (await worker.fetch(`/api/uploads/${upload}`, { headers })).json<Upload>()).upload).toBe(upload);
});

test("the share sheet of an iPhone sends the bytes alone: a HEIC with its own type and no name", async () => {
  const bytes = await photo("test.heic");
  const response = await worker.owner("/api/images", {
    method: "POST",
    body: bytes,
    headers: { ...lengthOf(bytes), "Content-Type": "image/heic", "User-Agent": "Shortcuts/1.0 CFNetwork" },
  });
  expect(response.status).toBe(202);
  const { upload } = await response.json<UploadAccepted>();
  await worker.webhook(await finished(upload));
  await worker.drain();
  const { status, image } = await worker.status(upload);
  expect([status, image?.alt]).toEqual(["done", ""]);
});
