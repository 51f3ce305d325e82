// A private gallery: nothing without a right, and nothing in a shared cache.

import { createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import type { ImageList, Manifest, PublicImage, Session, SignedLink } from "../../src/api";
import handler from "../../src/index";
import { Worker, finished, origin, ownerToken, photo } from "./harness";

let worker: Worker;
let first: Manifest;
let second: Manifest;

async function store(name: string): Promise<Manifest> {
  const { upload } = await worker.upload(await photo(name, crypto.randomUUID()), name);
  const job = await finished(upload);
  await worker.webhook(job);
  await worker.drain();
  return (job.output as { manifest: Manifest }).manifest;
}

beforeAll(async () => {
  worker = new Worker({ PRIVATE: true });
  first = await store("test_square.jpg");
  second = await store("test.jpg");
});
afterEach(() => void vi.useRealTimers());
afterAll(() => reset());

const paths = (id: string) => [
  ...[
    "/api/images",
    "/api/images?view=compact",
    "/api/images?tag=x",
    "/api/images?q=test",
    `/api/images/${id}`,
    "/feed.json",
    "/feed.xml",
  ],
  ...[`/images/${id}`, `/images/${id}?w=320&f=jpeg`, `/p/${id}`, "/t/x"],
];

async function link(id: string, days?: number): Promise<SignedLink> {
  const body = days === undefined ? null : JSON.stringify({ days });
  const response = await worker.owner(`/api/images/${id}/link`, { method: "POST", body });
  expect(response.status).toBe(201);
  return response.json();
}

const withKey = (path: string, url: string) =>
  `${path}${path.includes("?") ? "&" : "?"}key=${new URL(url).searchParams.get("key")}`;

test("no 200 without a right, and nothing of the images in the response", async () => {
  const cookie = `__Host-owner=${crypto.randomUUID()}.9999999999.${"0".repeat(64)}`;
  const attempts: RequestInit[] = [
    ...[{}, { headers: { Cookie: cookie } }, { headers: { Authorization: "Bearer wrong" } }],
    ...[{ headers: { Origin: "https://blog.example" } }, { headers: { "If-None-Match": "*" } }],
    { headers: { Range: "bytes=0-1" } },
  ];
  for (const path of [...paths(first.id), ...paths("a".repeat(26))]) {
    for (const init of attempts) {
      const response = await worker.fetch(path, init);
      expect([path, response.status]).toEqual([path, 401]);
      expect(response.headers.get("Cache-Control")).toBe("no-store");
      expect(response.headers.get("Access-Control-Allow-Origin")).toBeNull();
      expect(await response.text()).not.toMatch(/test square|og:|thumbhash/);
      expect((await worker.fetch(path, { ...init, method: "HEAD" })).status).toBe(401);
    }
  }
  expect(await (await worker.fetch("/api/session")).json<Session>()).toEqual({
    owner: false,
    guest: false,
    private: true,
  });
});

test("the owner sees everything; no cache but the browser's may keep images, and none what is said of them", async () => {
  const put = vi.mocked(caches.default.put);
  put.mockClear();
  for (const path of paths(first.id).filter((path) => !/[/=]x$/.test(path))) {
    const response = await worker.owner(path);
    expect([path, response.status]).toEqual([path, 200]);
    expect([path, response.headers.get("Cache-Control")]).toEqual([
      path,
      path.startsWith("/images/") ? "private, max-age=300" : "no-store",
    ]);
  }
  const { images } = await (await worker.owner("/api/images")).json<ImageList>();
  expect(images.map(({ id }) => id)).toEqual([second.id, first.id]);
  expect(put).not.toHaveBeenCalled();
});

test("what was cached while the gallery was public is not sent any more", async () => {
  const open = new Worker();
  const path = `/images/${first.id}?w=320&f=jpeg`;
  await open.fetch(path);
  expect((await open.fetch(path)).headers.get("X-From")).toBe("cache");
  expect((await worker.fetch(path)).status).toBe(401);
  expect((await worker.owner(path)).headers.get("X-From")).toBe("r2");
});

test("a signed link opens one image, its files and its preview, and no other", async () => {
  const { url, expires_at } = await link(first.id, 7);
  expect(Date.parse(expires_at ?? "") - Date.now()).toBeGreaterThan(6.9 * 24 * 3600_000);
  const page = await worker.fetch(url);
  expect([page.status, page.headers.get("Cache-Control")]).toEqual([200, "no-store"]);
  const [, preview = ""] = /og:image" content="([^"]+)"/.exec(await page.text()) ?? [];
  expect((await worker.fetch(preview.replaceAll("&amp;", "&"))).status).toBe(200);
  const setCookie = page.headers.get("Set-Cookie") ?? "";
  expect(setCookie).toMatch(
    /^__Host-see-[a-z2-7]{26}=.*; Path=\/; Max-Age=60\d{4}; HttpOnly; SameSite=Strict; Secure$/,
  );
  const cookie = { headers: { Cookie: setCookie.split(";")[0] ?? "" } };
  for (const path of [`/images/${first.id}?w=320`, `/api/images/${first.id}`]) {
    for (const response of [await worker.fetch(path, cookie), await worker.fetch(withKey(path, url))]) {
      expect([path, response.status, response.headers.get("Cache-Control")]).toEqual([
        path,
        200,
        path.startsWith("/images/") ? "private, max-age=300" : "no-store",
      ]);
    }
  }
  const image = await (await worker.fetch(`/api/images/${first.id}`, cookie)).json<PublicImage>();
  expect(image.url).toBe(`${origin}/p/${first.id}`);
  for (const path of [
    "/api/images",
    "/feed.json",
    "/t/x",
    `/images/${second.id}`,
    `/api/images/${second.id}`,
    `/p/${second.id}`,
  ]) {
    expect([path, (await worker.fetch(path, cookie)).status]).toEqual([path, 401]);
    const keyed = await worker.fetch(withKey(path, url));
    expect([path, keyed.status]).toEqual([path, 401]);
  }
  // Reading is all that it is good for.
  for (const method of ["PATCH", "DELETE"]) {
    expect((await worker.fetch(withKey(`/api/images/${first.id}`, url), { method, ...cookie })).status).toBe(401);
  }
});

test("a link expires, cannot be altered, and ends with the owner's token", async () => {
  const { url } = await link(first.id, 1);
  const key = new URL(url).searchParams.get("key") ?? "";
  const [expires, signature = ""] = key.split(".");
  const path = `/images/${first.id}?w=320&key=`;
  expect((await worker.fetch(path + key)).status).toBe(200);
  for (const wrong of [
    `${Number(expires) + 1}.${signature}`,
    `${expires}.${signature.replace(/^./, (c) => (c === "0" ? "1" : "0"))}`,
    "x",
    "",
  ]) {
    expect((await worker.fetch(path + wrong)).status).toBe(401);
  }
  const other = new Worker({ PRIVATE: true, UPLOAD_TOKEN: "a new token" });
  expect((await other.fetch(path + key)).status).toBe(401);
  vi.useFakeTimers({ now: Date.now() + 25 * 3600_000, toFake: ["Date"] });
  expect((await worker.fetch(path + key)).status).toBe(401);
});

test("without its secrets a private gallery is closed to all", async () => {
  const { url } = await link(first.id);
  const closed = new Worker({ PRIVATE: true, SESSION_SECRET: "" });
  expect((await closed.fetch(url)).status).toBe(401);
  expect((await closed.owner(`/api/images/${first.id}/link`, { method: "POST" })).status).toBe(503);
});

test("only the owner signs links", async () => {
  expect((await worker.fetch(`/api/images/${first.id}/link`, { method: "POST" })).status).toBe(401);
  for (const body of ['{"days": 0}', '{"days": 367}', '{"days": 1.5}', '{"days": "1"}', "[", "null"]) {
    expect((await worker.owner(`/api/images/${first.id}/link`, { method: "POST", body })).status).toBe(400);
  }
  expect((await worker.owner(`/api/images/${"a".repeat(26)}/link`, { method: "POST" })).status).toBe(404);
});

test("in a public gallery a link needs no signature", async () => {
  const response = await new Worker().owner(`/api/images/${first.id}/link`, { method: "POST" });
  expect(await response.json()).toEqual({ url: `${origin}/p/${first.id}`, expires_at: null });
});

test("without D1 the listing is not shared either", async () => {
  const { INDEX: _, ...env } = worker.env;
  vi.mocked(caches.default.put).mockClear();
  const ctx = createExecutionContext();
  const request = new Request(`${origin}/api/images`, { headers: { Authorization: `Bearer ${ownerToken}` } });
  const response = await handler.fetch(request as Parameters<typeof handler.fetch>[0], env, ctx);
  await waitOnExecutionContext(ctx);
  expect((await response.json<ImageList>()).images).toHaveLength(2);
  expect(caches.default.put).not.toHaveBeenCalled();
});

test("a link to an image that became one with another opens that one", async () => {
  const old = await store("test_square.jpg");
  const before = await link(old.id);
  await env.IMAGES.put(`state/images/${old.id}.json`, JSON.stringify({ status: "alias", of: first.id }));
  for (const { url } of [before, await link(old.id)]) {
    const page = await worker.fetch(url);
    expect([url, page.status]).toEqual([url, 200]);
    const [, preview = ""] = /og:image" content="([^"]+)"/.exec(await page.text()) ?? [];
    expect((await worker.fetch(preview.replaceAll("&amp;", "&"))).status).toBe(200);
    const Cookie = page.headers.getSetCookie().map((one) => one.split(";")[0]);
    const opened = await worker.fetch(`/api/images/${new URL(url).pathname.slice("/p/".length)}`, {
      headers: { Cookie: Cookie.join("; ") },
    });
    const { id } = await opened.json<PublicImage>();
    const file = await worker.fetch(`/images/${id}?w=320`, { headers: { Cookie: Cookie.join("; ") } });
    expect([id, file.status]).toEqual([first.id, 200]);
  }
});
