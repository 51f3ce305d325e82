// What browsers download.

import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { expect, test } from "vitest";

const path = (name: string) => join(resolve(import.meta.dirname, "../.."), name);

/** A script or style sheet as scripts/build.mjs makes it. */
async function bundled(entry: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [path(entry)],
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
  });
  return outputFiles[0]?.contents ?? new Uint8Array();
}

test("the client with its web component is at most 3 kB, compressed", async () => {
  expect(gzipSync(await bundled("client/src/site.ts")).length).toBeLessThanOrEqual(3000);
});

test("the gallery's HTML, CSS and JavaScript are at most 30 kB together, compressed", async () => {
  const sources = ["src/site/style/index.css", "src/site/app.ts", "src/site/sw.ts"];
  const files = [await readFile(path("site/index.html")), ...(await Promise.all(sources.map(bundled)))];
  const sizes = files.map((file) => gzipSync(file).length);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(30_000);
});
