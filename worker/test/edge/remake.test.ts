// A new ladder for old images: links stay valid all the time, and no image is there twice.

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Image, ImageList, Manifest, Remake } from "../../src/api";
import {
  Worker,
  copyToBucket,
  daemon,
  empty,
  finished,
  photo,
  settings,
  sha256,
  startDaemon,
  stateOf,
  stopDaemon,
} from "./harness";

const before = { "ladder.widths": "32,64,128", "ladder.formats": "webp,jpeg,avif" };
const after = { "ladder.widths": "48,96", "ladder.formats": "webp,jpeg", "ladder.quality.webp": "60" };
/** Of both, and the photo's own. */
const widths = "32,48,64,96,128,999";

let worker: Worker;

async function restart(values: Record<string, string>): Promise<void> {
  await stopDaemon();
  await settings(values);
  await startDaemon();
}

beforeEach(async () => {
  worker = new Worker({ WIDTHS: widths });
  await restart(before);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await restart({});
  await empty();
});

async function store(bytes: ArrayBuffer, filename = "square.jpg"): Promise<Manifest> {
  const { upload } = await worker.upload(bytes, filename);
  if ((await stateOf(upload)).job !== null) {
    const job = await finished(upload);
    const { manifest } = job.output as { manifest: Manifest };
    if (worker.env.DIRECT) await copyToBucket(manifest);
    await worker.webhook(job);
  }
  await worker.drain();
  const { image } = await stateOf(upload);
  return daemon<Manifest>(`/v1/images/${image}`);
}

const square = async () => photo("test_square.jpg", crypto.randomUUID());
const listed = async () => (await (await worker.owner("/api/images?view=compact&limit=100")).json<ImageList>()).images;
const progress = async () => (await worker.owner("/api/remake")).json<Remake>();

/** Runs it to its end. */
async function remake(): Promise<Remake> {
  expect((await worker.owner("/api/remake", { method: "POST" })).status).toBe(202);
  await worker.drain("remake");
  return progress();
}

const keys = async () =>
  (await env.IMAGES.list()).objects.map(({ key }) => key).filter((key) => !key.startsWith("state/"));

/** No cache, and a KV that shows everything as it was when it was read first. */
function hideChanges(): void {
  vi.spyOn(caches.default, "match").mockResolvedValue(undefined);
  const { META: meta } = worker.env;
  const shown = new Map<string, unknown>();
  worker.env.META = new Proxy(meta, {
    get(object, name) {
      const value: unknown = Reflect.get(object, name);
      if (name !== "get") return typeof value === "function" ? value.bind(object) : value;
      return async (key: string, type: "json") => {
        if (!shown.has(key)) shown.set(key, await object.get(key, type));
        return shown.get(key);
      };
    },
  });
}

test("50 images get another ladder while visitors load old links, none of which breaks", async () => {
  const old = new Map<string, Manifest>();
  for (let n = 0; n < 50; n++) {
    const manifest = await store(await square(), `cat-${n}.jpg`);
    old.set(manifest.id, manifest);
  }
  await worker.owner(`/api/images/${[...old.keys()][0]}`, {
    method: "PATCH",
    body: '{"title": "First", "tags": ["cat"]}',
  });
  await worker.tick(); // completes the index: KV lists no titles
  const images = await listed();
  expect(images).toHaveLength(50);
  const links = [...old.values()].flatMap(({ id, variants }) =>
    variants.map(({ width, format }) => `/images/${id}?w=${width}&f=${format}`),
  );
  hideChanges();
  for (const link of links) expect((await worker.fetch(link)).status).toBe(200);

  await restart(after);
  expect((await worker.owner("/api/remake", { method: "POST" })).status).toBe(202);
  const broken: string[] = [];
  let loaded = 0;
  const load = async (link: string) => {
    const response = await worker.fetch(link);
    loaded++;
    if (response.status !== 200 || (await response.arrayBuffer()).byteLength < 100) broken.push(link);
  };
  const seen = new Set<number>();
  for (let n = 0; await worker.step("remake"); n++) {
    const { total, done } = await progress();
    expect(done).toBeLessThanOrEqual(total);
    seen.add(done);
    for (let i = 0; i < 5; i++) await load(links[(n * 37 + i * 101) % links.length] as string);
  }
  for (const link of links) await load(link);
  expect(broken).toEqual([]);
  console.log(`${loaded} old links loaded, ${broken.length} broken`);
  expect(await progress()).toEqual({ running: false, total: 50, done: 50, unchanged: 0, failed: {} });
  expect(seen.size).toBeGreaterThan(25);

  // The same images in the same order, with the new sizes, and nothing of the old ones.
  const now = await listed();
  expect(now.map(({ id, created_at, title, alt, tags }) => ({ id, created_at, title, alt, tags }))).toEqual(
    images.map(({ id, created_at, title, alt, tags }) => ({ id, created_at, title, alt, tags })),
  );
  for (const { formats } of now) expect(formats.avif).toBeUndefined();
  const stored = await keys();
  for (const { variants } of old.values()) for (const { key } of variants) expect(stored).not.toContain(key);
  const { items } = await daemon<{ items: { id: string }[] }>("/v1/images?limit=100");
  expect(items.filter(({ id }) => old.has(id))).toEqual([]);
  for (const { what, external, internal } of worker.invocations) {
    if (what.includes('"remake"')) expect(external + internal).toBeLessThanOrEqual(20);
  }
}, 900_000); // only guards against hanging: the machine may be busy

test("what is delivered is what the daemon has made, and the same photo is no second image", async () => {
  const bytes = await square();
  const { id } = await store(bytes);
  await restart(after);
  expect(await remake()).toMatchObject({ done: 1, failed: {} });
  const again = await worker.upload(bytes);
  const status = await worker.status(again.upload);
  expect(status).toMatchObject({ status: "done", duplicate: true, image: { id } });
  const made = await daemon<Manifest>(`/v1/images/${(await stateOf(again.upload)).image}`);
  expect(made.id).not.toBe(id);
  for (const { width, format, sha256: digest } of made.variants) {
    const response = await worker.fetch(`/images/${id}?w=${width}&f=${format}`);
    expect([response.headers.get("X-From"), await sha256(await response.arrayBuffer())]).toEqual(["r2", digest]);
  }
  expect((await listed()).map((image) => image.id)).toEqual([id]);
  // Once more it has nothing to do, and back again it does.
  expect(await remake()).toMatchObject({ done: 0, unchanged: 1 });
  await restart(before);
  expect(await remake()).toMatchObject({ done: 1, unchanged: 0 });
  expect((await worker.fetch(`/images/${id}?w=64&f=avif`)).headers.get("Content-Type")).toBe("image/avif");
  expect((await listed()).map((image) => image.id)).toEqual([id]);
});

test("a photo that was uploaded again with the new ladder becomes one image with the old one", async () => {
  const bytes = await square();
  const first = await store(bytes, "a-cat.jpg");
  await worker.owner(`/api/images/${first.id}`, { method: "PATCH", body: '{"title": "The cat"}' });
  await restart(after);
  const second = await store(bytes, "b.jpg");
  expect(await listed()).toHaveLength(2);
  expect(await remake()).toMatchObject({ done: 1, unchanged: 1 });
  expect(await listed()).toMatchObject([{ id: second.id, title: "The cat" }]);
  await worker.tick(); // completes the index
  const { images } = await (await worker.owner("/api/images?q=cat")).json<ImageList>();
  expect(images.map(({ id }) => id)).toEqual([second.id]);
  for (const { width, format } of first.variants) {
    expect((await worker.fetch(`/images/${first.id}?w=${width}&f=${format}`)).status).toBe(200);
  }
  expect(await (await worker.fetch(`/api/images/${first.id}`)).json<Image>()).toMatchObject({ id: second.id });
  expect((await worker.owner(`/api/images/${first.id}`, { method: "DELETE" })).status).toBe(204);
  expect(await listed()).toEqual([]);
  expect(await keys()).toEqual([]);
  expect((await worker.fetch(`/images/${first.id}?w=64`)).status).toBe(404);
});

test("that loses no words if R2 fails in between", async () => {
  const bytes = await square();
  const first = await store(bytes);
  await worker.owner(`/api/images/${first.id}`, { method: "PATCH", body: '{"title": "The cat"}' });
  await restart(after);
  const second = await store(bytes);
  const images = worker.env.IMAGES;
  worker.env.IMAGES = new Proxy(images, {
    get(bucket, name) {
      const real = Reflect.get(bucket, name) as (...args: unknown[]) => unknown;
      if (name !== "put") return real;
      return (...args: unknown[]) =>
        args[0] === `state/images/${second.id}.json` ? Promise.reject(new Error("R2 is down")) : real(...args);
    },
  });
  await remake();
  worker.env.IMAGES = images;
  vi.useFakeTimers({ now: Date.now() + 11 * 60_000, toFake: ["Date"] });
  await worker.tick();
  await worker.drain("remake");
  vi.useRealTimers();
  expect(await progress()).toMatchObject({ running: false, done: 1, failed: {} });
  expect(await listed()).toMatchObject([{ id: second.id, title: "The cat" }]);
  await worker.owner(`/api/images/${second.id}`, { method: "DELETE" });
  expect((await env.IMAGES.get(`state/images/${first.id}.json`).then((one) => one?.json())) as object).toMatchObject({
    status: "deleted",
  });
});

test("a photo that is uploaded again, and is being pulled meanwhile, is the same image, and its source goes", async () => {
  const bytes = await square();
  const { id } = await store(bytes);
  await restart(after);
  const { upload } = await worker.upload(bytes);
  await worker.webhook(await finished(upload));
  expect(await remake()).toMatchObject({ running: false, done: 1, failed: {} });
  expect(await env.IMAGES.head(`inbox/${upload}`)).toBeNull();
  await worker.drain();
  expect(await worker.status(upload)).toMatchObject({ status: "done", image: { id } });
  expect((await listed()).map((image) => image.id)).toEqual([id]);
});

test("a deletion afterwards takes the new files, and a new upload is a new image", async () => {
  const bytes = await square();
  const { id } = await store(bytes);
  await restart(after);
  await remake();
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
  expect(await keys()).toEqual([]);
  expect((await daemon<{ items: unknown[] }>("/v1/images?limit=100")).items).not.toContainEqual(
    expect.objectContaining({ id }),
  );
  const again = await store(bytes);
  expect((await listed()).map((image) => image.id)).toEqual([again.id]);
});

test("an image that is deleted while it is remade stays deleted", async () => {
  const { id } = await store(await square());
  await restart(after);
  await worker.owner("/api/remake", { method: "POST" });
  for (let n = 0; n < 4; n++) await worker.step("remake"); // its new files are being pulled
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
  await worker.drain("remake");
  expect(await listed()).toEqual([]);
  expect(await keys()).toEqual([]);
  expect(await progress()).toMatchObject({ running: false, done: 0, failed: {} });
});

test("a daemon that goes away in the middle is waited for, without messages", async () => {
  const { id } = await store(await square());
  await restart(after);
  await worker.owner("/api/remake", { method: "POST" });
  for (let n = 0; n < 2; n++) await worker.step("remake");
  await stopDaemon();
  await worker.drain("remake");
  for (let n = 0; n < 3; n++) await worker.tick();
  expect(worker.queue).toEqual([]);
  expect(await progress()).toMatchObject({ running: true, done: 0 });
  await startDaemon();
  await worker.tick();
  await worker.drain("remake");
  expect(await progress()).toMatchObject({ running: false, done: 1, failed: {} });
  expect((await listed()).map((image) => image.id)).toEqual([id]);
});

test("every step may come twice", async () => {
  const { id } = await store(await square());
  await restart(after);
  await worker.owner("/api/remake", { method: "POST" });
  await worker.owner("/api/remake", { method: "POST" }); // one is enough
  for (;;) {
    const message = worker.queue.find(({ body }) => body.kind === "remake");
    if (!(await worker.step("remake")) || !message) break;
    await worker.handle(message);
  }
  expect(await progress()).toMatchObject({ running: false, done: 1, failed: {} });
  expect((await listed()).map((image) => image.id)).toEqual([id]);
});

test("without an original with the daemon that of the bucket is taken; without any the image stays", async () => {
  const bytes = await square();
  const [kept, lost] = [await store(bytes), await store(await square())];
  for (const { id } of [kept, lost]) await daemon(`/v1/images/${id}`, { method: "DELETE" });
  await env.IMAGES.put(`originals/${kept.id}`, bytes);
  await restart(after);
  expect(await remake()).toMatchObject({ done: 1, failed: { [lost.id]: "no_original" } });
  expect((await listed()).map(({ id }) => id).sort()).toEqual([kept.id, lost.id].sort());
  expect((await worker.fetch(`/images/${lost.id}?w=64&f=avif`)).status).toBe(200);
});

test("in direct mode nothing is pulled", async () => {
  worker = new Worker({ DIRECT: true, WIDTHS: widths });
  const bytes = await square();
  const { id } = await store(bytes);
  await restart(after);
  // What the daemon writes before it answers.
  const made = await daemon<Manifest>("/v1/images", { method: "POST", body: bytes });
  await copyToBucket(made);
  const before = worker.invocations.length;
  expect(await remake()).toMatchObject({ done: 1, failed: {} });
  expect(worker.invocations.slice(before).reduce((sum, { external }) => sum + external, 0)).toBeLessThanOrEqual(4);
  expect((await listed()).map((image) => image.id)).toEqual([id]);
  expect((await worker.fetch(`/images/${id}?w=96&f=webp`)).status).toBe(200);
});

test("only the owner may start it, or see how far it is", async () => {
  expect((await worker.fetch("/api/remake", { method: "POST" })).status).toBe(401);
  expect((await worker.fetch("/api/remake")).status).toBe(401);
});
