// The snippets of docs/embed.md: on a page of another origin, and as modules that use
// the client as it would be published.

import { execFile, execFileSync } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { compile } from "svelte/compiler";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Image, ImageList, PublicImage } from "../../src/api";
import { Site, openBrowser, openPage, ownerToken, photo } from "./site";

const worker = resolve(import.meta.dirname, "../..");
let site: Site;
let browser: Browser;
let blog: Server;
let images: Image[];
let html: string[];
let folder: string;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  images = [await site.seed("test_square.jpg"), await site.seed("test.webp")];
  // In this folder's ancestors are the packages that the snippets need.
  folder = await mkdtemp(join(worker, "dist-embed-"));
  await install();
  const text = await readFile(join(worker, "../docs/embed.md"), "utf8");
  html = [];
  for (const [, language, code = ""] of text.matchAll(/^```(\w+)\n(.*?)^```/gms)) {
    const ours = code
      .replaceAll("https://photos.example.com", site.url)
      .replaceAll(/\/ID(?=[?"])/g, `/${images[0]?.id}`);
    if (language === "html") html.push(ours);
    // Its first line is the name of its file.
    const [, name] = /^(?:\/\/|<!--) (\S+)/.exec(ours) ?? [];
    if (name) await write(name, ours);
  }
  blog = createServer((_, response) => {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    // As strict as an isolated page is.
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    response.end(`<!doctype html><title>Blog</title>${html.join("\n")}`);
  }).listen(0, "127.0.0.1");
  await once(blog, "listening");
});

afterAll(async () => {
  blog?.close();
  await browser?.close();
  await site?.dispose();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** The client as its package has it, and nothing that the package lacks. */
async function install(): Promise<void> {
  const into = join(folder, "node_modules/@optimizerd/gallery");
  await mkdir(into, { recursive: true });
  await copyFile(join(worker, "client/package.json"), join(into, "package.json"));
  const tsc = join(worker, "node_modules/.bin/tsc");
  execFileSync(tsc, ["-p", join(worker, "client"), "--outDir", join(into, "dist")]);
  await writeFile(join(folder, "package.json"), '{"type": "module"}');
}

async function write(name: string, text: string): Promise<void> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** By Node.js itself, in a process of its own, which this one serves; returns the exports as JSON. */
async function run<T>(name: string, then = "module", env: Record<string, string> = {}): Promise<T> {
  const url = pathToFileURL(join(folder, name)).href;
  const script = `const module = await import(${JSON.stringify(url)}); process.stdout.write("\\n" + JSON.stringify(await (${then})));`;
  const args = ["--input-type=module", "--eval", script];
  const options = { cwd: folder, encoding: "utf8", env: { ...process.env, ...env } } as const;
  const { stdout } = await promisify(execFile)(process.execPath, args, options);
  return JSON.parse(stdout.slice(stdout.lastIndexOf("\n") + 1)) as T;
}

test("plain HTML shows the gallery's images on another origin", async () => {
  const { page, complaints } = await openPage(browser, {});
  await page.goto(`http://127.0.0.1:${(blog.address() as AddressInfo).port}/`);
  await expect.poll(() => page.locator("#cats picture img").count()).toBe(images.length);
  await expect.poll(() => page.locator("optimized-image picture img").count()).toBe(1);
  expect(await page.locator("optimized-image a").count()).toBe(0);
  const loaded = () =>
    page
      .locator("img")
      .evaluateAll((imgs) => (imgs as HTMLImageElement[]).filter((img) => img.complete && img.naturalWidth > 0).length);
  await expect.poll(loaded).toBe(images.length + 2);
  // A canvas can read what is shared with all origins.
  const pixel = await page.evaluate(async (src) => {
    const img = Object.assign(new Image(), { crossOrigin: "anonymous", src });
    await img.decode();
    const context = document.createElement("canvas").getContext("2d");
    context?.drawImage(img, 0, 0);
    return context?.getImageData(0, 0, 1, 1).data[3];
  }, `${site.url}/images/${images[0]?.id}?w=320`);
  expect(pixel).toBe(255);
  expect(complaints.filter((text) => !text.includes("favicon"))).toEqual([]);
  await page.context().close();
});

test("the web component shifts nothing, follows its attributes, and keeps what is inside if the image is gone", async () => {
  const { page } = await openPage(browser, { viewport: { width: 1000, height: 800 } }, /404/);
  await page.goto(`http://127.0.0.1:${(blog.address() as AddressInfo).port}/`);
  const element = page.locator("optimized-image");
  await element.locator("img").waitFor();
  const shifts = await page.evaluate(async (url) => {
    const sum = { value: 0 };
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) sum.value += (entry as PerformanceEntry & { value: number }).value;
    }).observe({ type: "layout-shift" });
    const added = document.createElement("optimized-image");
    for (const [name, value] of Object.entries({ id: "added", width: "200", height: "200", src: url }))
      added.setAttribute(name, value);
    const below = document.createElement("p");
    below.textContent = "below";
    document.body.prepend(added, below);
    await new Promise((resolve) => added.addEventListener("load", resolve, { once: true }));
    await added.querySelector("img")?.decode();
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    return [below.getBoundingClientRect().top >= 200, added.querySelector("img")?.alt];
  }, `${site.url}/p/${images[0]?.id}`);
  expect(shifts).toEqual([true, "test square"]);
  const altered = page.locator("#added");
  await altered.evaluate((one) => one.setAttribute("alt", "Another text"));
  await page.getByRole("img", { name: "Another text" }).waitFor();
  const failed = await altered.evaluate(
    (one, url) => {
      one.innerHTML = "<em>instead</em>";
      const error = new Promise((resolve) => one.addEventListener("error", resolve, { once: true }));
      one.setAttribute("src", url);
      return error.then(() => one.innerHTML);
    },
    `${site.url}/p/${"a".repeat(26)}`,
  );
  expect(failed).toBe("<em>instead</em>");
  await page.context().close();
});

test("the client lists, describes and uploads, installed from its package", async () => {
  const { html: picture, titles } = await run<{ html: string; titles: string[] }>("client.mjs");
  expect(picture).toMatch(/^<picture><source type="image\/avif" srcset=".*<img .*loading="eager".*><\/picture>$/);
  expect(titles.sort()).toEqual(["test", "test square"]);
  await copyFile(photo("test.jpg"), join(folder, "cat.jpg"));
  const { image } = await run<{ image: PublicImage }>("upload.mjs", "module", { UPLOAD_TOKEN: ownerToken });
  expect([image.alt, (await fetch(image.url)).status, (await fetch(image.src)).status]).toEqual(["cat", 200, 200]);
});

test("SvelteKit", async () => {
  const data = await run<ImageList>("src/routes/+page.server.js", "module.load()");
  const source = await readFile(join(folder, "src/routes/+page.svelte"), "utf8");
  const { js, warnings } = compile(source, { generate: "server" });
  expect(warnings).toEqual([]);
  await write("page.js", js.code);
  await symlink(join(worker, "node_modules/svelte"), join(folder, "node_modules/svelte"));
  const props = `{ props: { data: ${JSON.stringify(data)} } }`;
  const { body } = await run<{ body: string }>(
    "page.js",
    `import("svelte/server").then(({ render }) => render(module.default, ${props})).then(({ body }) => ({ body }))`,
  );
  expect(body.match(/<picture>/g)).toHaveLength(data.images.length);
  for (const { id } of data.images) expect(body).toContain(`/images/${id}?w=`);
});

test("Astro's module, Eleventy's data file and template", async () => {
  const astro = await run<ImageList>("src/gallery.js");
  expect(astro.images.map(({ id }) => id)).toContain(images[0]?.id);
  const cats = await run<PublicImage[]>("_data/cats.js", "module.default()");
  expect(cats.map(({ id }) => id)).toEqual(astro.images.map(({ id }) => id));
  const page = await run<string>("cats.11ty.js", `module.render(${JSON.stringify({ cats })})`);
  expect(page.match(/<picture>/g)).toHaveLength(cats.length);
});

test("the loader of Next.js gives the address of an image", async () => {
  const url = await run<string>("loader.js", `module.default({ src: ${JSON.stringify(images[0]?.id)}, width: 300 })`);
  const response = await fetch(url);
  expect([response.status, response.headers.get("Content-Type")]).toEqual([200, "image/jpeg"]);
});
