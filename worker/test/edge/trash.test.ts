// A deleted image is hidden at once, can be restored for a day, and is then gone for good.

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Image, ImageList, Manifest, Remake, Trash } from "../../src/api";
import { entryKey } from "../../src/image";
import { readImage } from "../../src/state";
import { restore } from "../../src/trash";
import {
  Worker,
  bird,
  copyToBucket,
  daemon,
  empty,
  photo,
  report,
  seen,
  startDaemon,
  stateOf,
  stopDaemon,
  storedBird,
  storedFiles,
} from "./harness";

let worker: Worker;
let manifest: Manifest;

beforeEach(async () => {
  worker = new Worker();
  await worker.tick(); // completes the index
  manifest = await storedBird(worker);
  worker.invocations.length = 0;
  await seen();
});
afterEach(async () => {
  vi.useRealTimers();
  // No invocation of any of these tests may make more.
  for (const { external, internal } of worker.invocations) expect(external + internal).toBeLessThanOrEqual(20);
  await startDaemon();
  await empty();
});

const post = (id: string, what: "trash" | "restore") => worker.owner(`/api/images/${id}/${what}`, { method: "POST" });
const trash = async (cursor = "") => (await worker.owner(`/api/trash?cursor=${cursor}`)).json<Trash>();
const hours = (count: number) => vi.setSystemTime(Date.now() + count * 3600_000);
const records = async () => (await env.IMAGES.list({ prefix: "state/trash/" })).objects;
const remaining = async () =>
  (await env.IMAGES.list()).objects.map(({ key }) => key).filter((key) => !key.startsWith("state/"));

/** What strangers may ask for; w differs, since caches keep what they have. */
const paths = (id: string) => [`/images/${id}?w=640&f=webp`, `/images/${id}?w=960`, `/p/${id}`, `/api/images/${id}`];

async function expectHidden(id: string): Promise<void> {
  for (const path of paths(id)) {
    for (const response of [await worker.fetch(path), await worker.owner(path)]) {
      expect([path, response.status]).toEqual([path, 404]);
      expect(await response.text()).not.toContain("og:image");
    }
  }
  for (const path of [
    "/api/images",
    "/api/images?view=compact",
    "/api/images?tag=birds",
    "/feed.json",
    "/feed.xml",
    "/api/images?q=bird",
  ]) {
    for (const response of [await worker.fetch(path), await worker.owner(path)]) {
      expect(await response.text()).not.toContain(id);
    }
  }
  expect((await worker.fetch("/t/birds")).status).toBe(404);
  expect((await worker.owner(`/api/images/${id}/link`, { method: "POST" })).status).toBe(404);
  expect((await worker.owner(`/api/images/${id}`, { method: "PATCH", body: '{"title":"x"}' })).status).toBe(404);
}

async function describeIt(): Promise<Image> {
  const words = { title: "A bird", alt: "red", caption: "On a branch.", tags: ["birds"] };
  return (await worker.owner(`/api/images/${manifest.id}`, { method: "PATCH", body: JSON.stringify(words) })).json();
}

test("it is nowhere at once, and restored it is what it was", async () => {
  const image = await describeIt();
  const before = await (await worker.owner("/api/images?view=compact")).json<ImageList>();
  expect((await post(manifest.id, "trash")).status).toBe(204);
  await expectHidden(manifest.id);
  expect(await storedFiles(manifest)).toHaveLength(21);
  const { images, cursor } = await trash();
  expect(images).toEqual([{ image, deleted_at: expect.any(String), expires_at: expect.any(String) }]);
  expect(Date.parse(images[0]?.expires_at ?? "") - Date.parse(images[0]?.deleted_at ?? "")).toBe(24 * 3600_000);
  expect(cursor).toBeNull();

  const restored = await post(manifest.id, "restore");
  expect(await restored.json()).toEqual(image);
  expect(await (await worker.owner("/api/images?view=compact")).json()).toEqual(before);
  for (const path of [...paths(manifest.id), "/t/birds"]) expect((await worker.fetch(path)).status).toBe(200);
  expect((await trash()).images).toEqual([]);
  expect(await records()).toEqual([]);
  // The daemon was not asked for anything.
  expect(await seen()).toEqual([]);
});

test("KV that still shows it does not matter", async () => {
  const { value, metadata } = await env.META.getWithMetadata(entryKey(manifest.id));
  await post(manifest.id, "trash");
  await env.META.put(entryKey(manifest.id), value ?? "", { metadata });
  for (const path of paths(manifest.id)) expect([path, (await worker.fetch(path)).status]).toEqual([path, 404]);
});

test("only the owner may do that, and only with images", async () => {
  for (const what of ["trash", "restore"]) {
    expect((await worker.fetch(`/api/images/${manifest.id}/${what}`, { method: "POST" })).status).toBe(401);
    expect((await worker.owner(`/api/images/${"a".repeat(26)}/${what}`, { method: "POST" })).status).toBe(404);
    expect((await worker.owner(`/api/images/x/${what}`, { method: "POST" })).status).toBe(404);
  }
  expect((await worker.fetch("/api/trash")).status).toBe(401);
  expect(await records()).toEqual([]);
});

test("both can be repeated", async () => {
  for (const what of ["trash", "trash", "restore", "restore", "trash"] as const) {
    expect((await post(manifest.id, what)).ok).toBe(true);
    expect(await records()).toHaveLength(what === "trash" ? 1 : 0);
  }
  await expectHidden(manifest.id);
});

describe("after a day", () => {
  test("it is deleted for good, everywhere, and cannot be restored", async () => {
    await post(manifest.id, "trash");
    hours(23.9);
    await worker.tick();
    expect(worker.queue).toEqual([]);
    expect((await post(manifest.id, "restore")).status).toBe(200);
    await post(manifest.id, "trash");
    hours(24.1);
    await worker.tick();
    await worker.drain("trash");
    expect(await remaining()).toEqual([]);
    expect(await records()).toEqual([]);
    await expect(daemon(`/v1/images/${manifest.id}`)).rejects.toThrow("404");
    expect((await post(manifest.id, "restore")).status).toBe(404);
    expect((await readImage(worker.env, manifest.id))?.status).toBe("deleted");
    console.log(report(worker.invocations));
  });

  test("also while the daemon is off, which gets to know it later", async () => {
    await post(manifest.id, "trash");
    hours(24.1);
    await stopDaemon();
    await worker.tick();
    await worker.drain("trash");
    expect(await remaining()).toEqual([]);
    await startDaemon();
    await worker.tick();
    await worker.drain("leftovers");
    await expect(daemon(`/v1/images/${manifest.id}`)).rejects.toThrow("404");
  });

  test("an interrupted deletion is completed", async () => {
    await post(manifest.id, "trash");
    hours(24.1);
    const { IMAGES: images } = worker.env;
    worker.env.IMAGES = new Proxy(images, {
      get(bucket, name) {
        if (name === "delete") return () => Promise.reject(new Error("R2 is down"));
        return Reflect.get(bucket, name) as unknown;
      },
    });
    await worker.tick();
    await worker.drain("trash");
    expect(await remaining()).toHaveLength(21);
    worker.env.IMAGES = images;
    await worker.tick();
    await worker.drain("trash");
    expect(await remaining()).toEqual([]);
    expect(await records()).toEqual([]);
  });

  test("one image per message, the last deleted first in the list, in pages", async () => {
    const ids: string[] = [];
    for (let n = 0; n < 14; n++) {
      const id = String.fromCharCode(97 + n).repeat(26);
      const copy = JSON.parse(JSON.stringify(manifest).replaceAll(manifest.id, id)) as Manifest;
      await env.IMAGES.put(`state/images/${id}.json`, JSON.stringify({ status: "done", manifest: copy }));
      vi.setSystemTime(Date.now() + 1000);
      expect((await post(id, "trash")).status).toBe(204);
      ids.unshift(id);
    }
    const first = await trash();
    const second = await trash(first.cursor ?? "");
    expect([...first.images, ...second.images].map(({ image }) => image.id)).toEqual(ids);
    expect(second.cursor).toBeNull();
    hours(24.1);
    await stopDaemon();
    await worker.tick();
    await worker.drain("trash");
    expect(await records()).toEqual([]);
    await expect.soft(storedFiles(manifest)).resolves.toHaveLength(21); // the one that was not deleted
  });
});

test("deleted for good from the trash it is gone at once", async () => {
  await post(manifest.id, "trash");
  expect((await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" })).status).toBe(204);
  expect(await remaining()).toEqual([]);
  expect(await records()).toEqual([]);
  expect((await post(manifest.id, "restore")).status).toBe(404);
});

describe.each([{ DIRECT: false }, { DIRECT: true }])("the same photo again, %j", (settings) => {
  test("restores it, with its words", async () => {
    worker.env = { ...worker.env, ...settings };
    if (settings.DIRECT) await copyToBucket(manifest);
    const image = await describeIt();
    await post(manifest.id, "trash");
    vi.setSystemTime(Date.now() + 1000);
    const { upload } = await worker.upload(await photo(bird), bird);
    expect((await stateOf(upload)).image).toBe(manifest.id);
    const { status, image: shown, duplicate } = await worker.status(upload);
    expect({ status, shown, duplicate }).toEqual({ status: "done", shown: image, duplicate: true });
    expect((await worker.fetch(`/p/${manifest.id}`)).status).toBe(200);
    expect((await worker.fetch(`/images/${manifest.id}?w=640&f=webp`)).status).toBe(200);
    expect(await records()).toEqual([]);
  });

  test("does not, if it was uploaded before the deletion", async () => {
    worker.env = { ...worker.env, ...settings };
    if (settings.DIRECT) await copyToBucket(manifest);
    await post(manifest.id, "trash");
    vi.setSystemTime(Date.now() - 60_000);
    const { upload } = await worker.upload(await photo(bird), bird);
    expect((await worker.status(upload)).status).toBe("failed");
    vi.useRealTimers();
    await expectHidden(manifest.id);
    expect(await records()).toHaveLength(1);
  });
});

test("a remake leaves it alone", async () => {
  await post(manifest.id, "trash");
  await worker.owner("/api/remake", { method: "POST" });
  await worker.drain("remake");
  const { total, running } = await (await worker.owner("/api/remake")).json<Remake>();
  expect({ total, running }).toEqual({ total: 0, running: false });
  expect((await restore(worker.env, manifest.id))?.id).toBe(manifest.id);
  expect(await storedFiles(manifest)).toHaveLength(21);
});

test("receivers of webhooks see a deletion that had to be repeated", async () => {
  worker.env.HOOK_URLS = "https://build.example.com/hook";
  const { META: meta } = worker.env;
  worker.env.META = new Proxy(meta, {
    get(object, name) {
      if (name === "delete") return () => Promise.reject(new Error("KV is down"));
      return Reflect.get(object, name) as unknown;
    },
  });
  expect((await post(manifest.id, "trash")).status).toBe(500);
  worker.env.META = meta;
  expect((await post(manifest.id, "trash")).status).toBe(204);
  expect(worker.queue.map(({ body }) => body)).toMatchObject([{ kind: "hook", type: "image.deleted" }]);
});

test("receivers of webhooks see a deletion, and a publication again", async () => {
  worker.env.HOOK_URLS = "https://build.example.com/hook";
  const types = () => worker.queue.flatMap(({ body }) => (body.kind === "hook" ? [body.type] : []));
  await post(manifest.id, "trash");
  expect(types()).toEqual(["image.deleted"]);
  await post(manifest.id, "restore");
  expect(types()).toEqual(["image.deleted", "image.published"]);
  await post(manifest.id, "trash");
  worker.queue = [];
  hours(24.1);
  await worker.tick();
  await worker.drain("trash");
  expect(types()).toEqual([]); // they know it already
});
