// The client (client/src), against the Worker.

import { reset } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GalleryError, type Image, gallery, pictureHtml } from "../../client/src/index";
import type { Image as Ours, PublicImage } from "../../src/api";
import { Worker, origin, ownerToken, photo } from "./harness";

let worker: Worker;
let asked: string[];

/** The Worker, whose queue goes on between requests. */
const send = async (url: RequestInfo | URL, init: RequestInit = {}) => {
  await worker.drain();
  const { pathname, search } = new URL(String(url));
  asked.push(pathname + search);
  const body = init.body as ArrayBuffer | undefined;
  const length = body && { "Content-Length": String(body.byteLength) };
  return worker.fetch(pathname + search, { ...init, headers: { ...(init.headers as object), ...length } });
};
const photos = gallery(`${origin}/`, { token: ownerToken, fetch: send });
const visitor = gallery(origin, { fetch: send });
const added: Image[] = [];

beforeAll(async () => {
  worker = new Worker();
  asked = [];
  for (const name of ["test.webp", "test_square.jpg", "test.jpg"]) {
    added.unshift(await photos.upload(await photo(name, crypto.randomUUID()), { filename: `"${name}"` }));
  }
});
afterAll(() => reset());

test("an upload resolves to the image that is in the gallery", async () => {
  expect(added.map(({ id }) => id)).toEqual((await visitor.list()).images.map(({ id }) => id));
  expect(await visitor.get(added[0]?.id ?? "")).toEqual(added[0]);
});

test("a search finds the images that have its words", async () => {
  await worker.tick(); // completes the index
  const { images, cursor } = await visitor.list({ q: "test SQUARE" });
  expect([images, cursor]).toEqual([[added[1]], null]);
});

test("all() follows the pages, and asks only for those that are needed", async () => {
  asked = [];
  const ids: string[] = [];
  for await (const { id } of visitor.all({ limit: 1 })) if (ids.push(id) === 2) break;
  expect([ids, asked.length]).toEqual([added.slice(0, 2).map(({ id }) => id), 2]);
  const all: Image[] = [];
  for await (const image of visitor.all({ limit: 2 })) all.push(image);
  expect(all).toEqual(added);
});

describe("errors have the gallery's code", () => {
  test.each([
    ["an image that is not there", () => visitor.get("../x"), 404, "not_found"],
    ["a wrong selection", () => visitor.list({ limit: 0 }), 400, "invalid_request"],
    ["an upload without a token", () => visitor.upload(new ArrayBuffer(3)), 401, "unauthorized"],
    ["an upload that is no image", () => photos.upload(new Uint8Array([1, 2, 3])), 422, "unsupported_format"],
  ])("%s", async (_, attempt, status, code) => {
    const error = await (attempt() as Promise<unknown>).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(GalleryError);
    expect(error).toMatchObject({ status, code });
  });

  test("a response that is not from a gallery", async () => {
    const other = gallery("https://example.com", { fetch: () => Promise.resolve(new Response("<html>")) });
    await expect(other.list()).rejects.toMatchObject({ code: "no_json" });
  });
});

test("the wait for an upload can be aborted", async () => {
  const abort = new AbortController();
  const stuck = gallery(origin, {
    fetch: (url) => {
      if (String(url).includes("/uploads/")) abort.abort(new Error("enough"));
      return Promise.resolve(Response.json({ upload: "up_1", status: "saved", image: null, error: null }));
    },
  });
  await expect(stuck.upload(new ArrayBuffer(1), { signal: abort.signal })).rejects.toThrow("enough");
});

test("pictureHtml has the sources of the image, and escapes what people wrote", () => {
  const image = { ...(added[0] as Image), alt: '<b title="x">&' };
  const html = pictureHtml(image, { sizes: "50vw", className: "cat" });
  expect(html).toContain('alt="&lt;b title=&quot;x&quot;&gt;&amp;"');
  expect(html).not.toContain("<b ");
  expect(html.match(/<source type="image\/\w+" srcset="[^"]+" sizes="50vw">/g)).toHaveLength(image.sources.length - 1);
  expect(html).toMatch(
    /<img srcset="[^"]+" sizes="50vw" src="[^"]+" width="\d+" height="\d+" .*class="cat"><\/picture>$/,
  );
  for (const { srcset } of image.sources) expect(html).toContain(srcset.replaceAll("&", "&amp;"));
});

test("its types are those of the Worker", () => {
  const ours = (image: Image): PublicImage & Ours => image;
  const theirs = (image: PublicImage): Image => image;
  expect(theirs(ours(added[0] as Image))).toBe(added[0]);
});
