// What a link shows, and what other sites can use.

import { reset } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ImageList, Manifest, PublicImage } from "../../src/api";
import { Worker, finished, origin, photo } from "./harness";

const site = origin;
let worker: Worker;
let manifest: Manifest;

// Nothing here changes anything, but for a deletion at the end.
beforeAll(async () => {
  worker = new Worker();
  const bytes = await photo("northern_cardinal_bird.jpg", crypto.randomUUID());
  const { upload } = await worker.upload(bytes, encodeURIComponent('A "red" <b>bird & co.jpg'));
  const job = await finished(upload);
  ({ manifest } = job.output as { manifest: Manifest });
  await worker.webhook(job);
  await worker.drain();
  await worker.tick(); // completes the index
});
afterAll(() => reset());

function meta(html: string, key: string): string {
  const [, content = ""] = new RegExp(`<meta (?:property|name)="${key}" content="([^"]*)">`).exec(html) ?? [];
  return content.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

test("a link that is shared at once shows the image, also to messengers", async () => {
  const response = await worker.fetch(`/p/${manifest.id}`);
  expect([response.status, response.headers.get("Content-Type")]).toEqual([200, "text/html; charset=utf-8"]);
  expect(response.headers.get("Content-Security-Policy")).toContain("script-src 'self'");
  const html = await response.text();
  expect(html).toContain('<title>A "red" &lt;b&gt;bird &amp; co · Gallery</title>');
  expect(meta(html, "og:title")).toBe('A "red" <b>bird & co');
  expect(html).not.toContain("<b>bird");
  expect(meta(html, "og:url")).toBe(`${site}/p/${manifest.id}`);
  expect(html).toContain(`<link rel="canonical" href="${site}/p/${manifest.id}">`);
  expect(meta(html, "twitter:card")).toBe("summary_large_image");
  expect([meta(html, "og:image:width"), meta(html, "og:image:height")]).toEqual(["1280", "720"]);
  const preview = await worker.fetch(meta(html, "og:image"));
  expect([preview.status, preview.headers.get("Content-Type")]).toEqual([200, "image/jpeg"]);
  // The gallery is there too.
  expect(html).toContain('<script type="module" src="/app.js">');
});

test("HEAD of a page, as messengers ask first", async () => {
  const response = await worker.fetch(`/p/${manifest.id}`, { method: "HEAD" });
  expect([response.status, await response.text()]).toEqual([200, ""]);
});

test.each([`/p/${"a".repeat(26)}`, "/p/nonsense"])(
  "%s is a plain page that says that nothing is there",
  async (path) => {
    const response = await worker.fetch(path);
    expect([response.status, response.headers.get("Cache-Control")]).toEqual([404, "no-store"]);
    const html = await response.text();
    expect(html).toMatch(/<p class="notice" id="gone" role="status"\s*>This image no longer exists/);
    expect(html).not.toContain("<script");
    expect(html).not.toContain("og:");
  },
);

describe("for other sites", () => {
  test.each(["/api/images", "/api/images?q=bird", "/api/images/ID", "/images/ID?w=320", "/feed.json", "/feed.xml"])(
    "%s may be read by pages of all origins",
    async (template) => {
      const path = template.replace("ID", manifest.id);
      const headers = { Origin: "https://blog.example" };
      for (const method of ["GET", "HEAD", "GET"]) {
        const response = await worker.fetch(path, { method, headers });
        expect(response.status).toBe(200);
        expect(response.headers.get("Access-Control-Allow-Origin")).toBe("*");
        expect(response.headers.get("Access-Control-Allow-Credentials")).toBeNull();
        expect(response.headers.get("Cross-Origin-Resource-Policy")).toBe("cross-origin");
        expect((await response.arrayBuffer()).byteLength > 0).toBe(method === "GET");
      }
      const ask = { ...headers, "Access-Control-Request-Method": "GET" };
      const preflight = await worker.fetch(path, { method: "OPTIONS", headers: ask });
      expect([preflight.status, preflight.headers.get("Access-Control-Allow-Methods")]).toEqual([204, "GET, HEAD"]);
    },
  );

  test("nothing else may be", async () => {
    for (const path of ["/api/session", "/api/uploads", "/api/webhook"]) {
      const response = await worker.fetch(path, { method: "OPTIONS", headers: { Origin: "https://blog.example" } });
      expect([path, response.status]).toEqual([path, 405]);
      expect(response.headers.get("Access-Control-Allow-Origin")).toBeNull();
    }
    const write = await worker.fetch(`/api/images/${manifest.id}`, { method: "DELETE" });
    expect([write.status, write.headers.get("Access-Control-Allow-Origin")]).toEqual([401, null]);
  });

  test.each(["/api/images", "/api/images?q=bird", "/api/images/ID", "/feed.json"])(
    "%s is only sent if it has changed",
    async (template) => {
      const path = template.replace("ID", manifest.id);
      const first = await worker.fetch(path);
      expect(first.headers.get("Cache-Control")).toBe("public, max-age=60, stale-while-revalidate=600");
      const etag = first.headers.get("ETag") ?? "";
      for (const tag of [etag, `W/${etag}`, `"x", ${etag}`]) {
        const again = await worker.fetch(path, { headers: { "If-None-Match": tag } });
        expect([again.status, again.headers.get("ETag")]).toEqual([304, etag]);
      }
      expect((await worker.fetch(path, { headers: { "If-None-Match": '"x"' } })).status).toBe(200);
    },
  );

  test("the owner's list is nobody else's", async () => {
    expect((await worker.owner("/api/images")).headers.get("Cache-Control")).toBe("no-store");
  });

  test("an image has all that a page needs, and each of its URLs is one", async () => {
    const image = await (await worker.fetch(`/api/images/${manifest.id}`)).json<PublicImage>();
    const { images } = await (await worker.fetch("/api/images")).json<ImageList>();
    expect(images).toEqual([image]);
    expect(image.url).toBe(`${site}/p/${manifest.id}`);
    expect(image.sources.map(({ type }) => type)).toEqual(["image/avif", "image/webp", null]);
    // No gaps: every source has every width.
    const widths = [...new Set(Object.values(image.formats).flat())].sort((a, b) => a - b);
    for (const { srcset } of image.sources) {
      expect(srcset.split(", ").map((one) => Number(one.split(" ")[1]?.replace("w", "")))).toEqual(widths);
    }
    expect(image.html).toContain("A &quot;red&quot; &lt;b&gt;bird &amp; co");
    expect(image.html).toContain('sizes="auto, (min-width: 1920px) 1920px, 100vw"');
    expect(image.markdown).toBe(`[![${image.alt}](${image.src})](${image.url})`);
    const html = image.html.replaceAll("&amp;", "&");
    const urls = new Set(
      [...html.matchAll(/https:[^ "]+/g), ...image.markdown.matchAll(/https:[^ ")]+/g)].map(([u]) => u),
    );
    expect(urls.size).toBeGreaterThan(14);
    for (const url of urls) expect([url, (await worker.fetch(url)).status]).toEqual([url, 200]);
  });

  test.each(["limit=0", "limit=101", "limit=x", "since=yesterday", "view=x", "color=red"])(
    "%s is refused",
    async (query) => {
      const response = await worker.fetch(`/api/images?${query}`);
      expect(response.status).toBe(400);
      expect(response.headers.get("Access-Control-Allow-Origin")).toBe("*");
    },
  );

  test("what is not there is not found, and says so to other origins too", async () => {
    const response = await worker.fetch(`/api/images/${"a".repeat(26)}`);
    expect([response.status, response.headers.get("Access-Control-Allow-Origin")]).toEqual([404, "*"]);
  });

  test("JSON Feed and RSS", async () => {
    const json = await worker.fetch("/feed.json");
    expect(json.headers.get("Content-Type")).toBe("application/feed+json");
    expect(await json.json()).toMatchObject({
      version: "https://jsonfeed.org/version/1.1",
      items: [{ id: `${site}/p/${manifest.id}`, title: 'A "red" <b>bird & co', date_published: manifest.created_at }],
    });
    const rss = await worker.fetch("/feed.xml");
    expect(rss.headers.get("Content-Type")).toBe("application/rss+xml");
    const text = await rss.text();
    expect(text).toContain(`<link>${site}/p/${manifest.id}</link>`);
    expect(text).toContain("<title>A &quot;red&quot; &lt;b&gt;bird &amp; co</title>");
    expect(text).toContain(`<pubDate>${new Date(manifest.created_at).toUTCString()}</pubDate>`);
  });
});

test("the gallery's name and description are those of its variables, on all pages and in feeds", async () => {
  const named = new Worker({ TITLE: "Tom & <i>Mitzi</i>", DESCRIPTION: 'Two "cats"' });
  const shown = "Tom &amp; &lt;i&gt;Mitzi&lt;/i&gt;";
  const front = await named.fetch("/");
  expect([front.status, front.headers.get("ETag")]).toEqual([200, null]);
  expect(front.headers.get("Content-Security-Policy")).toContain("script-src 'self'");
  const html = await front.text();
  expect(html).toContain(`<title>${shown}</title>`);
  expect(html).toContain(`<h1 id="title">${shown}</h1>`);
  expect(meta(html, "description")).toBe('Two "cats"');
  const page = await (await named.fetch(`/p/${manifest.id}`)).text();
  expect(page).toContain(` · ${shown}</title>`);
  expect(page).toContain(`<h1 id="title">${shown}</h1>`);
  expect(meta(page, "description")).not.toBe('Two "cats"');
  expect(await (await named.fetch(`/p/${"a".repeat(26)}`)).text()).toContain(`<h1 id="title">${shown}</h1>`);
  expect(await (await named.fetch("/feed.json")).json()).toMatchObject({
    title: "Tom & <i>Mitzi</i>",
    description: 'Two "cats"',
  });
  const rss = await (await named.fetch("/feed.xml")).text();
  expect(rss).toContain(`<title>${shown}</title>`);
  expect(rss).toContain("<description>Two &quot;cats&quot;</description>");
  expect(await (await worker.fetch("/")).text()).toContain("<title>Gallery</title>");
  expect((await named.fetch("/", { method: "HEAD" })).status).toBe(200);
});

test("search engines are asked to stay away with NOINDEX, and messengers are not", async () => {
  const unlisted = new Worker({ NOINDEX: true });
  for (const path of ["/", `/p/${manifest.id}`, `/images/${manifest.id}?w=320`, "/api/images", "/feed.xml"]) {
    const response = await unlisted.fetch(path);
    expect([path, response.status, response.headers.get("X-Robots-Tag")]).toEqual([path, 200, "noindex"]);
    expect((await worker.fetch(path)).headers.get("X-Robots-Tag")).toBeNull();
  }
  const known = { "If-None-Match": (await unlisted.fetch("/feed.xml")).headers.get("ETag") ?? "" };
  expect((await unlisted.fetch("/feed.xml", { headers: known })).status).toBe(304);
  expect(await (await unlisted.fetch(`/p/${manifest.id}`)).text()).toContain("og:image");
});

test("a link to an image that was deleted is dead at once", async () => {
  await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" });
  expect((await worker.fetch(`/p/${manifest.id}`)).status).toBe(404);
  expect((await worker.fetch(`/api/images/${manifest.id}`)).status).toBe(404);
});

test("the manifest has the gallery's name, and whoever gets no service worker is led back to the page", async () => {
  for (const PRIVATE of [false, true]) {
    const cats = new Worker({ TITLE: "Cats", PRIVATE });
    const response = await cats.fetch("/manifest.webmanifest");
    expect(response.headers.get("Content-Type")).toBe("application/manifest+json");
    expect(await response.json()).toMatchObject({ name: "Cats", share_target: { action: "/share" } });
    const form = new FormData();
    form.set("images", new File([await photo("test.png", "")], "test.png"));
    const shared = await cats.fetch("/share", { method: "POST", body: form, redirect: "manual" });
    expect([shared.status, shared.headers.get("Location")]).toEqual([303, "/?shared=failed"]);
    expect((await cats.fetch("/share")).status).toBe(405);
  }
});
