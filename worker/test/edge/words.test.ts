// Title, alternative text, caption and tags.

import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Image, ImageList, Manifest, PublicImage, Words } from "../../src/api";
import { migrate } from "../../src/catalog";
import type { ImageEntry } from "../../src/image";
import { Worker, dropIndex, finished, origin, photo } from "./harness";

let worker: Worker;
let manifest: Manifest;
let bytes: ArrayBuffer;

beforeAll(async () => {
  worker = new Worker();
  await migrate(worker.env);
  bytes = await photo("test_square.jpg", crypto.randomUUID());
  const { upload } = await worker.upload(bytes, "IMG_4711.jpg");
  const job = await finished(upload);
  ({ manifest } = job.output as { manifest: Manifest });
  await worker.webhook(job);
  await worker.drain();
});
afterAll(() => reset());

const patch = (words: unknown, id = manifest.id) =>
  worker.owner(`/api/images/${id}`, { method: "PATCH", body: JSON.stringify(words) });
const list = async (query = "") => (await (await worker.fetch(`/api/images?${query}`)).json<ImageList>()).images;

const words: Words = {
  title: "Mitzi",
  alt: "A black cat on a red sofa",
  caption: "She has slept there since 2019. ".repeat(20).trim(),
  tags: ["cats", "süße katze"],
};

test("a name that a camera made is no alternative text", async () => {
  expect(await list()).toMatchObject([{ alt: "", title: "", caption: "", tags: [] }]);
});

test("words are everywhere at once, for one write to KV", async () => {
  worker.invocations.length = 0;
  const response = await patch({ ...words, tags: [" Cats", "Süße Katze", "cats"] });
  expect(response.status).toBe(200);
  expect(await response.json<Image>()).toMatchObject({ id: manifest.id, ...words });
  const [{ kvWrites = 0, internal = 0, external = 0 } = {}] = worker.invocations;
  expect(kvWrites).toBe(1);
  expect(internal + external).toBeLessThanOrEqual(20);

  expect(await list()).toMatchObject([words]);
  expect(await (await worker.fetch(`/api/images/${manifest.id}`)).json<PublicImage>()).toMatchObject(words);
  expect(await env.META.get<ImageEntry>(`image:${manifest.id}`, "json")).toMatchObject(words);
  const html = await (await worker.fetch(`/p/${manifest.id}`)).text();
  expect(html).toContain("<title>Mitzi · Gallery</title>");
  expect(html).toContain('<meta property="og:image:alt" content="A black cat on a red sofa">');
  expect(html).toContain("She has slept there");
  expect(await (await worker.fetch("/feed.json")).json()).toMatchObject({
    items: [{ title: "Mitzi", tags: words.tags }],
  });
});

test("what is not named stays as it is", async () => {
  await patch({ title: "Kitty" });
  expect(await list()).toMatchObject([{ ...words, title: "Kitty" }]);
  await patch({ title: words.title });
});

test("a tag is an album, with a list, a page and a preview", async () => {
  expect((await list("tag=cats")).map(({ id }) => id)).toEqual([manifest.id]);
  expect((await list("tag=S%C3%BC%C3%9Fe%20Katze")).map(({ id }) => id)).toEqual([manifest.id]);
  expect(await list("tag=dogs")).toEqual([]);
  const album = await worker.fetch("/t/s%C3%BC%C3%9Fe%20katze");
  expect(album.status).toBe(200);
  const html = await album.text();
  expect(html).toContain("<title>süße katze · Gallery</title>");
  expect(html).toContain(`content="${origin}/images/${manifest.id}?w=1280&amp;f=jpeg"`);
  expect((await worker.fetch("/t/dogs")).status).toBe(404);
  expect((await worker.fetch("/t/%E0%A4%A")).status).toBe(404);
});

test("a tag that is taken away is no longer in its album", async () => {
  await patch({ tags: ["cats"] });
  expect(await list("tag=s%C3%BC%C3%9Fe%20katze")).toEqual([]);
  await patch({ tags: words.tags });
});

test("the same photo again keeps its words", async () => {
  await worker.upload(bytes, "other.jpg");
  await worker.drain();
  expect(await list()).toMatchObject([words]);
});

test("words survive in KV, and come back into a new index", async () => {
  await dropIndex();
  await migrate(worker.env);
  for (const query of ["", "tag=cats", "q=sofa", "q=susse&tag=cats"]) {
    expect([query, await list(query)]).toMatchObject([query, [words]]);
  }
});

test.each([
  "nonsense",
  [[]],
  { title: 1 },
  { title: "x".repeat(201) },
  { alt: null },
  { tags: "cats" },
  { tags: ["a/b"] },
  { tags: [""] },
  { tags: Array(21).fill("x") },
  { color: "#000000" },
])("%j is refused", async (body) => {
  const before = await list();
  const response = await patch(body);
  expect([response.status, await list()]).toEqual([400, before]);
});

test("only the owner writes, and only about images that are there", async () => {
  const body = JSON.stringify({ title: "x" });
  const stranger = await worker.fetch(`/api/images/${manifest.id}`, { method: "PATCH", body });
  expect([stranger.status, stranger.headers.get("Access-Control-Allow-Origin")]).toEqual([401, null]);
  expect((await patch({ title: "x" }, "a".repeat(26))).status).toBe(404);
  expect((await patch({ title: "x" }, "nonsense")).status).toBe(404);
});

test("a character that XML does not know leaves the feed readable", async () => {
  await patch({ title: "Line\u000bbreak \ud83d\udc08" });
  const feed = await (await worker.fetch("/feed.xml")).text();
  expect(feed).toContain("<title>Linebreak \ud83d\udc08</title>");
  await patch({ title: words.title });
});

test.each(["META", "INDEX"] as const)(
  "two changes at once: KV and the index end with the last; slow: %s",
  async (slow) => {
    // The first change is kept at its write to one of them, until the second is published.
    const method = slow === "META" ? "put" : "batch";
    let status = 0;
    const other = new Worker();
    other.env = {
      ...other.env,
      [slow]: new Proxy(other.env[slow] as object, {
        get(object, name) {
          const real = (...args: unknown[]) =>
            (Reflect.get(object, name) as (...args: unknown[]) => unknown).apply(object, args);
          if (name !== method || status > 0) return real;
          return async (...args: unknown[]) => {
            ({ status } = await patch({ title: "Second" }));
            return real(...args);
          };
        },
      }),
    };
    const body = '{"title": "First", "caption": "Of the first"}';
    expect((await other.owner(`/api/images/${manifest.id}`, { method: "PATCH", body })).status).toBe(200);
    expect(status).toBe(200);
    const both = { title: "Second", caption: "Of the first" };
    expect(await env.META.get<ImageEntry>(`image:${manifest.id}`, "json")).toMatchObject(both);
    expect(await list()).toMatchObject([both]);
    await patch(words);
  },
);

test("an image that is put into the trash while its words are written stays hidden", async () => {
  const { META: meta } = worker.env;
  const trash = () => worker.owner(`/api/images/${manifest.id}/trash`, { method: "POST" });
  const other = new Worker({
    META: new Proxy(meta, {
      get(object, name) {
        const real = Reflect.get(object, name) as (...args: unknown[]) => unknown;
        return name === "put" ? async (...args: unknown[]) => (await trash()) && real(...args) : real;
      },
    }),
  });
  await other.owner(`/api/images/${manifest.id}`, { method: "PATCH", body: '{"caption": "Too late"}' });
  expect(await list()).toEqual([]);
  expect(await env.META.get(`image:${manifest.id}`)).toBeNull();
  await worker.owner(`/api/images/${manifest.id}/restore`, { method: "POST" });
  expect(await list()).toMatchObject([{ caption: "Too late" }]);
});

test("control characters, which no reader of feeds or Markdown takes, are left out", async () => {
  const odd = {
    title: "A\u0000 bird\non a\u2028 branch\u0007",
    alt: "red\n\nand black",
    caption: "One.\r\n\u0001Two.\tThree.",
  };
  const image = await (await patch(odd)).json<Image>();
  expect(image).toMatchObject({ title: "A bird on a branch", alt: "red and black", caption: "One.\nTwo.\tThree." });
  const { markdown } = await (await worker.fetch(`/api/images/${manifest.id}`)).json<PublicImage>();
  expect(markdown).not.toContain("\n");
});

test("joiners stay, of emoji and of scripts that need them", async () => {
  const words = { title: "👩‍👩‍👧 می‌خواهم", alt: "👩‍👩‍👧", caption: "می‌خواهم" };
  expect(await (await patch(words)).json()).toMatchObject(words);
  const name = "👩‍👩‍👧 می‌خواهم\u0007.jpg";
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()), encodeURIComponent(name));
  await worker.webhook(await finished(upload));
  await worker.drain();
  expect((await worker.status(upload)).image?.alt).toBe("👩‍👩‍👧 می‌خواهم");
});

test("a deleted image leaves its albums", async () => {
  await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" });
  expect(await list("tag=cats")).toEqual([]);
  expect((await patch({ title: "x" })).status).toBe(404);
});
