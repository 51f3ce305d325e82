import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Manifest, ProblemBody } from "../../src/api";
import { Worker, faults, report, seen, startDaemon, stopDaemon, storedBird } from "./harness";

let worker: Worker;
let manifest: Manifest;

beforeEach(async () => {
  worker = new Worker();
  manifest = await storedBird(worker);
  worker.invocations.length = 0;
  await seen();
});
afterEach(async () => {
  await faults();
  await reset();
});

const chrome = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";

function get(query: string, headers: Record<string, string> = {}, method = "GET"): Promise<Response> {
  return worker.fetch(`/images/${manifest.id}?${query}`, { headers, method });
}

function bytesOf(format: string, width: number): string {
  return String(manifest.variants.find((variant) => variant.format === format && variant.width === width)?.bytes);
}

test.each([
  ["w=1", 320],
  ["w=320", 320],
  ["w=321", 480],
  ["w=1281", 1600],
  ["w=1700", 1920],
  ["w=2048", 1920],
  ["w=999999", 1920],
  ["", 1920],
])("%s is the rung %d", async (query, width) => {
  const response = await get(`${query}&f=webp`);
  expect([response.status, response.headers.get("Content-Length")]).toEqual([200, bytesOf("webp", width)]);
});

test.each([
  [chrome, "image/avif"],
  ["image/webp,*/*", "image/webp"],
  ["image/avif;q=0, image/webp;q=0.9", "image/webp"],
  ["IMAGE/AVIF", "image/avif"],
  ["*/*", "image/jpeg"],
  ["", "image/jpeg"],
])("auto for Accept: %s is %s, also from the cache", async (accept, type) => {
  await get("w=320&f=auto", { Accept: "image/webp" }); // what another browser got must not be in the way
  await get("w=320&f=auto", { Accept: chrome });
  for (let i = 0; i < 2; i++) {
    const response = await get("w=320&f=auto", accept === "" ? {} : { Accept: accept });
    expect(response.headers.get("Content-Type")).toBe(type);
    expect(response.headers.get("Vary")).toBe("Accept");
  }
});

test.each(["w=0", "w=-1", "w=1e3", "w=abc", "f=png", "q=best"])("%s is refused", async (query) => {
  const response = await get(query);
  expect(response.status).toBe(400);
  expect(response.headers.get("Content-Type")).toBe("application/problem+json");
  expect(await response.json<ProblemBody>()).toMatchObject({ code: "invalid_request", status: 400 });
});

test("what is no image is not found, and nobody else is asked", async () => {
  expect((await worker.fetch("/images/../state/x")).status).toBe(404);
  expect((await worker.fetch("/images/state")).status).toBe(404);
  expect((await worker.fetch(`/images/${"a".repeat(26)}`)).status).toBe(404);
  expect(await seen()).toEqual([]);
});

describe.each(["r2", "cache"])("from %s", (from) => {
  beforeEach(async () => {
    if (from === "cache") await get("w=320&f=jpeg");
  });
  const size = () => Number(bytesOf("jpeg", 320));

  test("HEAD has the headers and no body", async () => {
    const response = await get("w=320&f=jpeg", {}, "HEAD");
    expect(response.headers.get("X-From")).toBe(from);
    expect([response.status, response.headers.get("Content-Length")]).toEqual([200, String(size())]);
    expect((await response.arrayBuffer()).byteLength).toBe(0);
  });

  test.each([
    ["bytes=0-99", 206, (n: number) => `bytes 0-99/${n}`, () => 100],
    ["bytes=-7", 206, (n: number) => `bytes ${n - 7}-${n - 1}/${n}`, () => 7],
    ["bytes=100-", 206, (n: number) => `bytes 100-${n - 1}/${n}`, (n: number) => n - 100],
  ])("Range: %s", async (range, status, contentRange, length) => {
    const response = await get("w=320&f=jpeg", { Range: range });
    expect([response.status, response.headers.get("Content-Range")]).toEqual([status, contentRange(size())]);
    expect(response.headers.get("X-From")).toBe(from);
    expect((await response.arrayBuffer()).byteLength).toBe(length(size()));
  });

  test("a range behind the end is refused", async () => {
    const response = await get("w=320&f=jpeg", { Range: "bytes=9999999-" });
    expect([response.status, response.headers.get("Content-Range")]).toEqual([416, `bytes */${size()}`]);
  });

  test("If-Range gives the whole", async () => {
    const response = await get("w=320&f=jpeg", { Range: "bytes=0-99", "If-Range": '"other"' });
    expect([response.status, response.headers.get("Content-Length")]).toEqual([200, String(size())]);
  });

  test("the browser's copy is still good", async () => {
    const etag = (await get("w=320&f=jpeg", {}, "HEAD")).headers.get("ETag") as string;
    expect(etag).toMatch(/^"[0-9a-f]+"$/);
    expect((await get("w=320&f=jpeg", { "If-None-Match": etag })).status).toBe(304);
    expect((await get("w=320&f=jpeg", { "If-None-Match": `"x", W/${etag}` })).status).toBe(304);
    expect((await get("w=320&f=jpeg", { "If-None-Match": '"x"' })).status).toBe(200);
  });
});

test("a part is never kept as the whole", async () => {
  await get("w=320&f=jpeg", { Range: "bytes=0-99" });
  const response = await get("w=320&f=jpeg");
  expect([response.status, response.headers.get("Content-Length")]).toEqual([200, bytesOf("jpeg", 320)]);
});

test("a quality that is not stored is ordered once, checked and stored", async () => {
  const response = await get("w=640&f=webp&q=high");
  expect([response.status, response.headers.get("X-From")]).toEqual([200, "optimizer"]);
  expect(Number(response.headers.get("Content-Length"))).toBeGreaterThan(Number(bytesOf("webp", 640)));
  const order = worker.invocations.at(-1);
  console.log(report(worker.invocations.slice(-1)));
  expect((order?.external ?? 0) + (order?.internal ?? 0)).toBeLessThanOrEqual(20);
  expect(await env.IMAGES.head(`${manifest.id}/q-high/640.webp`)).not.toBeNull();

  expect((await get("w=640&f=webp&q=high")).headers.get("X-From")).toBe("cache");
  expect((await get("w=640&f=webp&q=high", {}, "HEAD")).headers.get("X-From")).toBe("cache");
  const asked = (await seen()).filter((line) => line.startsWith("POST /jobs"));
  expect(asked).toHaveLength(1);
});

test("the daemon keeps no copy of what was ordered, only of the image", async () => {
  const list = async () =>
    (await (
      await env.OPTIMIZER?.fetch("http://x/v1/images?limit=100", {
        headers: { Authorization: "Bearer a-token-of-the-tests-alone" },
      })
    )?.json()) as { items: { id: string }[] };
  const before = await list();
  expect((await get("w=480&f=jpeg&q=low")).status).toBe(200);
  expect((await list()).items.map(({ id }) => id)).toEqual(before.items.map(({ id }) => id));
});

test.each(["flip", "cut", "chunked", "down"])(
  "%s: an ordered file that arrives broken is neither stored nor sent",
  async (action) => {
    await faults({ match: "GET /files/", action });
    const response = await get("w=640&f=jpeg&q=low");
    // The ladder's own file of that width stands in.
    expect([response.status, response.headers.get("X-From")]).toEqual([200, "fallback"]);
    expect(response.headers.get("Content-Length")).toBe(bytesOf("jpeg", 640));
    expect(response.headers.get("Cache-Control")).toBe("public, max-age=60");
    expect(await env.IMAGES.head(`${manifest.id}/q-low/640.jpg`)).toBeNull();
  },
);

describe("with the daemon down", () => {
  beforeEach(() => stopDaemon());
  afterEach(() => startDaemon());

  test("what is stored is delivered", async () => {
    expect((await get("w=640&f=avif")).status).toBe(200);
  });

  test("the nearest larger file stands in, for a minute", async () => {
    await env.IMAGES.delete(`${manifest.id}/640.webp`);
    const response = await get("w=640&f=webp");
    expect([response.status, response.headers.get("X-From")]).toEqual([200, "fallback"]);
    expect(response.headers.get("Content-Length")).toBe(bytesOf("webp", 960));
    expect(response.headers.get("Cache-Control")).toBe("public, max-age=60");
  });

  test("without one it is 503, and not kept", async () => {
    await env.IMAGES.delete(["1600", "1920"].map((width) => `${manifest.id}/${width}.webp`));
    for (let i = 0; i < 2; i++) {
      const response = await get("w=1600&f=webp");
      expect(response.status).toBe(503);
      expect(Number(response.headers.get("Retry-After"))).toBeGreaterThan(0);
      expect(response.headers.get("Cache-Control")).toBe("no-store");
      expect(await response.json<ProblemBody>()).toMatchObject({ code: "optimizer_unavailable" });
    }
  });
});

test("without ON_DEMAND nothing is ordered", async () => {
  worker = new Worker({ ON_DEMAND: false });
  expect((await get("w=640&f=jpeg&q=low")).headers.get("X-From")).toBe("fallback");
  await env.IMAGES.delete(`${manifest.id}/1920.webp`);
  expect((await get("w=1920&f=webp")).status).toBe(404);
  expect(await seen()).toEqual([]);
});

test("one address cannot order without end", async () => {
  worker = new Worker({ ORDERS: { limit: () => Promise.resolve({ success: false }) } });
  expect((await get("w=640&f=jpeg&q=low")).headers.get("X-From")).toBe("fallback");
  expect(await seen()).toEqual([]);
});
