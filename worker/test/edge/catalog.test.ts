// The index in D1: order, paging, and its migration from KV.

import { env } from "cloudflare:workers";
import { afterEach, expect, test } from "vitest";
import type { Image, ImageList, Manifest, PublicImage } from "../../src/api";
import { migrate } from "../../src/catalog";
import { type ImageMetadata, entryKey } from "../../src/image";
import { Worker, dropIndex, empty, finished, photo, storedBird } from "./harness";

afterEach(empty);

const metadata = { width: 4, height: 3, thumbhash: "", color: "#000000", alt: "", formats: { jpeg: [320] } };

/** 26 letters that tell n. */
function idOf(n: number): string {
  return [...String(n).padStart(26, "0")].map((digit) => "abcdefghij"[Number(digit)]).join("");
}

function put(n: number): Promise<void> {
  // Several of one time, and in no order of ids.
  const created_at = new Date(1.7e12 + Math.floor(((n * 7919) % 1000) / 3) * 1000).toISOString();
  return env.META.put(entryKey(idOf(n)), "", { metadata: { ...metadata, created_at } satisfies ImageMetadata });
}

async function pages(worker: Worker, query: string): Promise<Image[][]> {
  const all: Image[][] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const response = await worker.fetch(`/api/images?view=compact&${query}&cursor=${encodeURIComponent(cursor)}`);
    const page: ImageList = await response.json();
    all.push(page.images);
    cursor = page.cursor;
  }
  return all;
}

const newestFirst = (a: Image, b: Image) =>
  a.created_at === b.created_at ? (a.id < b.id ? 1 : -1) : a.created_at < b.created_at ? 1 : -1;

test("10,000 images are newest first over all pages, each in one query", async () => {
  const worker = new Worker();
  await migrate(worker.env); // of an empty KV
  await env.INDEX?.prepare(
    `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
     INSERT INTO images (id, created_at, image)
     SELECT 'image' || n, strftime('%Y-%m-%dT%H:%M:%fZ', 1700000000 + (n * 7919) % 9973, 'unixepoch'),
       json_set(?, '$.id', 'image' || n,
         '$.created_at', strftime('%Y-%m-%dT%H:%M:%fZ', 1700000000 + (n * 7919) % 9973, 'unixepoch'))
     FROM numbers`,
  )
    .bind(JSON.stringify({ ...metadata, title: "", caption: "", tags: [] }))
    .run();
  const began = Date.now();
  const all = await pages(worker, "limit=100");
  console.log(`100 pages of 100 of 10,000 images: ${(Date.now() - began) / 100} ms per page`);
  expect(all.map((page) => page.length)).toEqual(Array(100).fill(100));
  const images = all.flat();
  expect(new Set(images.map(({ id }) => id)).size).toBe(10_000);
  expect(images).toEqual(images.toSorted(newestFirst));
  expect(new Set(worker.invocations.map(({ internal, external }) => internal + external))).toEqual(new Set([1]));
  // The number of rows that a page reads does not depend on where it is: the images, one before and one
  // after them, and one that says that the index is complete.
  expect(Math.max(...worker.invocations.map(({ rowsRead }) => rowsRead))).toBeLessThanOrEqual(103);
});

test("only images after a time, for sites that update a copy", async () => {
  const worker = new Worker();
  for (let n = 0; n < 20; n++) await put(n);
  await migrate(worker.env);
  const images = (await pages(worker, "limit=100")).flat();
  const since = images[7]?.created_at ?? "";
  const newer = (await pages(worker, `since=${since}`)).flat();
  expect(newer).toEqual(images.filter(({ created_at }) => created_at > since));
  expect(newer.length).toBeGreaterThan(0);
});

test("the index is made from KV by itself, in parts, again and again, and loses nothing", async () => {
  const worker = new Worker();
  for (let n = 0; n < 50; n++) await put(n);
  const meta = worker.env.META;
  // Eight listings of three images are not enough.
  worker.env.META = new Proxy(meta, {
    get(object, name) {
      if (name !== "list") return Reflect.get(object, name) as unknown;
      return (options: KVNamespaceListOptions) => object.list({ ...options, limit: 3 });
    },
  });
  await worker.owner("/api/images"); // begins it
  // Complete and from KV, as long as the index is not.
  expect((await pages(worker, "limit=100")).flat()).toHaveLength(50);
  await worker.owner(`/api/images/${idOf(3)}`, { method: "DELETE" });
  for (let n = 0; n < 3; n++) await worker.tick();
  for (const { external, internal } of worker.invocations.filter(({ what }) => what === "scheduled")) {
    expect(external + internal).toBeLessThanOrEqual(20);
  }
  worker.env.META = meta;
  worker.invocations.length = 0;
  const images = (await pages(worker, "limit=100")).flat();
  expect(worker.invocations.map(({ internal }) => internal)).toEqual([1]);
  const expected = Array.from({ length: 50 }, (_, n) => idOf(n)).filter((id) => id !== idOf(3));
  expect(images.map(({ id }) => id).sort()).toEqual(expected.sort());
  expect(images).toEqual(images.toSorted(newestFirst));
  await migrate(worker.env);
  expect((await pages(worker, "limit=100")).flat()).toEqual(images);
});

test("what KV still lists of a deleted image does not come back", async () => {
  const worker = new Worker();
  await put(1);
  await worker.owner(`/api/images/${idOf(1)}`, { method: "DELETE" });
  await put(1); // as KV has it for a minute
  await migrate(worker.env);
  expect((await pages(worker, "limit=100")).flat()).toEqual([]);
});

test("a new image is in the list at once, and a deleted one is not", async () => {
  const worker = new Worker();
  await worker.tick(); // an empty gallery is migrated too
  const { id } = await storedBird(worker);
  const ids = async () => (await pages(worker, "limit=10")).flat().map((image) => image.id);
  expect(await ids()).toEqual([id]);
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
  expect(await ids()).toEqual([]);
  // Uploaded again.
  await storedBird(worker);
  expect(await ids()).toEqual([id]);
});

test.each([
  ["when a photo was taken", "test_exif_canon.jpg", { taken_at: "2008-05-30T15:56:01", animated: false }],
  ["whether an image moves", "test.gif", { taken_at: null, animated: true }],
])("%s is in the list, with and without an index, and survives the migration", async (_, name, expected) => {
  const worker = new Worker();
  await migrate(worker.env);
  const { upload } = await worker.upload(await photo(name, crypto.randomUUID()));
  const job = await finished(upload);
  const { manifest } = job.output as { manifest: Manifest };
  await worker.webhook(job);
  await worker.drain();
  const listed = async () => (await pages(worker, "")).flat().map(({ taken_at, animated }) => ({ taken_at, animated }));
  expect(await listed()).toEqual([expected]);
  expect(await env.META.get<Image>(entryKey(manifest.id), "json")).toMatchObject(expected);

  await dropIndex();
  expect(await listed()).toEqual([expected]); // from KV
  await migrate(worker.env);
  expect(await listed()).toEqual([expected]);
});

test.each(["D1", "KV"])(
  "images are in the order of their uploads, and since looks at when they were made, with %s",
  async (index) => {
    const worker = new Worker();
    if (index === "D1") await migrate(worker.env);
    const ids: string[] = [];
    const jobs = [];
    for (const name of ["first", "second", "third"]) {
      const { upload } = await worker.upload(await photo("test_square.jpg", `${name} ${index}`));
      jobs.push(await finished(upload));
    }
    // Made side by side, the last is ready first.
    const times = ["2026-11-29T10:00:03.000Z", "2026-11-29T10:00:02.000Z", "2026-11-29T10:00:01.000Z"];
    for (const [n, job] of [...jobs.entries()].reverse()) {
      const output = job.output as { manifest: Manifest };
      output.manifest.created_at = times[n] ?? "";
      ids.unshift(output.manifest.id);
      await worker.webhook(job);
      await worker.drain();
    }
    const listed = async (query: string) => (await pages(worker, query)).flat().map(({ id }) => id);
    expect(await listed("limit=1")).toEqual(ids.toReversed());
    expect(await listed(`since=${times[2]}`)).toEqual([ids[1], ids[0]]);
    expect(await listed(`since=${times[0]}`)).toEqual([]);
  },
);

test("HTML of an animation has it in WebP, before its first frame in other formats, for those who want motion", async () => {
  const worker = new Worker();
  const { upload } = await worker.upload(await photo("test.gif", crypto.randomUUID()));
  await worker.webhook(await finished(upload));
  await worker.drain();
  const { images }: ImageList = await (await worker.fetch("/api/images")).json();
  const { html, sources } = images[0] as PublicImage;
  expect(sources.map(({ type, media }) => [type, media])).toEqual([
    ["image/webp", "(prefers-reduced-motion: no-preference)"],
    ["image/avif", undefined],
    [null, undefined],
  ]);
  expect(html).toContain('<source type="image/webp" media="(prefers-reduced-motion: no-preference)" srcset="');
  expect(html.match(/<source type="image\/webp"[^>]*>/)?.[0]).not.toContain("f=jpeg");
});
