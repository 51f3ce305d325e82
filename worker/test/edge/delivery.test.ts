import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Manifest, ProblemBody } from "../../src/api";
import type { Env } from "../../src/env";
import { type ImageEntry, describe as describeImage, entryKey, metadataOf } from "../../src/image";
import { Worker, empty, faults, ownerToken, report, seen, startDaemon, stopDaemon, storedBird } from "./harness";

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
  await empty();
});

const owner = { Authorization: `Bearer ${ownerToken}` };
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

test("auto falls back at widths that a format is not made at", async () => {
  const made = manifest.variants.filter(({ format, width }) => format !== "avif" || width >= 1280);
  const entry = describeImage({ ...manifest, variants: made });
  await env.META.put(entryKey(entry.id), JSON.stringify(entry), { metadata: metadataOf(entry) });
  const typeAt = async (width: number, accept: string) =>
    (await get(`w=${width}&f=auto`, { Accept: accept })).headers.get("Content-Type");
  expect(await typeAt(960, chrome)).toBe("image/webp");
  expect(await typeAt(1280, chrome)).toBe("image/avif");
  expect(await typeAt(1280, "image/webp")).toBe("image/webp");
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

  test.each(["bytes=0-1,4-5", "bytes=x", "lines=0-1"])("Range: %s gives the whole", async (range) => {
    const response = await get("w=320&f=jpeg", { Range: range });
    expect([response.status, response.headers.get("Content-Length")]).toEqual([200, String(size())]);
  });

  test("of a tag and a time, the tag counts", async () => {
    const headers = { "If-None-Match": '"x"', "If-Modified-Since": new Date(Date.now() + 60_000).toUTCString() };
    expect((await get("w=320&f=jpeg", headers)).status).toBe(200);
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
  const response = await get("w=640&f=webp&q=high", owner);
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
  expect((await get("w=480&f=jpeg&q=low", owner)).status).toBe(200);
  expect((await list()).items.map(({ id }) => id)).toEqual(before.items.map(({ id }) => id));
});

test.each(["flip", "cut", "chunked", "down"])(
  "%s: an ordered file that arrives broken is neither stored nor sent",
  async (action) => {
    await faults({ match: "GET /files/", action });
    const response = await get("w=640&f=jpeg&q=low", owner);
    // The ladder's own file of that width stands in.
    expect([response.status, response.headers.get("X-From")]).toEqual([200, "fallback"]);
    expect(response.headers.get("Content-Length")).toBe(bytesOf("jpeg", 640));
    expect(response.headers.get("Cache-Control")).toBe("public, max-age=60");
    expect(await env.IMAGES.head(`${manifest.id}/q-low/640.jpg`)).toBeNull();
  },
);

test("without KV what is stored is delivered all the same", async () => {
  const get = () => Promise.reject(new Error("KV GET failed: 429 Too Many Requests"));
  const { META: meta } = worker.env;
  worker.env.META = new Proxy(meta, {
    get: (object, name) => (name === "get" ? get : (Reflect.get(object, name) as unknown)),
  });
  const response = await worker.fetch(`/images/${manifest.id}?w=640&f=webp`);
  worker.env.META = meta;
  expect([response.status, response.headers.get("X-From")]).toEqual([200, "r2"]);
});

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

describe("visitors", () => {
  const refused: RateLimit = { limit: () => Promise.resolve({ success: false }) };
  /** A rung that is not stored, as after a change of the ladder. */
  const missing = () => env.IMAGES.delete(`${manifest.id}/640.webp`);

  test.each([["ORDERS"], ["ALL_ORDERS"]])(
    "above %s get a fallback, and keep nobody else from the variant",
    async (limit) => {
      await missing();
      worker = new Worker({ [limit]: refused } as Partial<Env>);
      const response = await get("w=640&f=webp");
      expect([response.status, response.headers.get("X-From")]).toEqual([200, "fallback"]);
      expect(response.headers.get("Cache-Control")).toBe("private, max-age=60");
      expect(await seen()).toEqual([]);
      worker = new Worker();
      expect((await get("w=640&f=webp")).headers.get("X-From")).toBe("optimizer");
    },
  );

  test("who is above a limit of their own does not use up that of all", async () => {
    await missing();
    let counted = 0;
    const all: RateLimit = { limit: () => Promise.resolve({ success: ++counted > 0 }) };
    worker = new Worker({ ORDERS: refused, ALL_ORDERS: all });
    await get("w=640&f=webp");
    expect(counted).toBe(0);
  });

  test("of one /64 are one visitor", async () => {
    await missing();
    const keys: string[] = [];
    const ORDERS: RateLimit = { limit: ({ key }) => Promise.resolve({ success: keys.push(key) < 0 }) };
    worker = new Worker({ ORDERS });
    for (const address of ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:3::1"]) {
      await get("w=640&f=webp", { "CF-Connecting-IP": address });
    }
    expect(new Set(keys).size).toBe(2);
  });

  test("are refused other qualities, unless the site allows them", async () => {
    const response = await get("w=640&f=webp&q=high");
    expect([response.status, response.headers.get("X-From")]).toEqual([200, "fallback"]);
    expect(response.headers.get("Content-Length")).toBe(bytesOf("webp", 640));
    expect(await seen()).toEqual([]);
    worker = new Worker({ VISITOR_QUALITIES: true });
    expect((await get("w=640&f=webp&q=high")).headers.get("X-From")).toBe("optimizer");
  });

  test("get what the owner has had made", async () => {
    expect((await get("w=640&f=webp&q=high", owner)).headers.get("X-From")).toBe("optimizer");
    expect((await get("w=640&f=webp&q=high")).headers.get("X-From")).toBe("cache");
  });
});

test("the limits do not count the owner", async () => {
  const refused: RateLimit = { limit: () => Promise.resolve({ success: false }) };
  worker = new Worker({ ORDERS: refused, ALL_ORDERS: refused });
  expect((await get("w=640&f=webp&q=low", owner)).headers.get("X-From")).toBe("optimizer");
});

test("HEAD has nothing made", async () => {
  await env.IMAGES.delete(`${manifest.id}/640.webp`);
  const head = await get("w=640&f=webp", {}, "HEAD");
  expect([head.status, head.headers.get("X-From")]).toEqual([200, "fallback"]);
  expect(head.headers.get("Cache-Control")).toBe("private, max-age=60");
  expect(await seen()).toEqual([]);
});

test("a format that the image does not have is not made, not even for the owner", async () => {
  const entry = (await env.META.get(`image:${manifest.id}`, "json")) as ImageEntry;
  const { avif: _, ...formats } = entry.formats;
  const files = entry.files.filter(({ format }) => format !== "avif");
  await env.META.put(`image:${manifest.id}`, JSON.stringify({ ...entry, formats, files }));
  await env.IMAGES.delete(`${manifest.id}/640.avif`);
  for (const headers of [{}, owner]) {
    const response = await get("w=640&f=avif", headers);
    expect(response.status).toBe(404);
    expect(await response.json<ProblemBody>()).toMatchObject({ code: "not_stored" });
  }
  expect(await seen()).toEqual([]);
});
