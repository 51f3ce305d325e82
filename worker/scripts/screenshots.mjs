// The pictures of the README, from the real thing: the gallery of gallery.mjs with
// painted landscapes, on a desktop and a phone, and the page of `make demo` with the ladder
// of one of them. Writes docs/images/*.webp.
// Usage: make screenshots   (needs Chromium, or CHROMIUM, and vips)
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { scenes } from "./scenes.mjs";

const root = resolve(import.meta.dirname, "../..");
const output = join(root, "docs/images");
/** Bytes of a picture at most. */
const largest = 150_000;

const folder = mkdtempSync(join(tmpdir(), "optimizerd-screenshots-"));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
let gallery;

/** Takes a picture of a page once everything on it has been loaded. */
async function shoot(name, url, options) {
  const page = await browser.newPage(options);
  await page.goto(url, { waitUntil: "networkidle" });
  await page.waitForFunction(() => [...document.images].every((img) => img.loading === "lazy" || img.complete));
  await page.waitForTimeout(1000); // the images fade in
  const png = join(folder, `${name}.png`);
  await page.screenshot({ path: png });
  await page.close();
  const file = join(output, `${name}.webp`);
  execFileSync("vips", ["copy", png, `${file}[Q=82,strip=true]`]);
  const { size } = statSync(file);
  if (size > largest) throw new Error(`${file} has ${size} bytes, more than ${largest}`);
  console.log(`${file}: ${size} bytes`);
}

/** Starts the gallery on a free port; returns its address. */
async function openGallery(photos) {
  gallery = spawn(process.execPath, [join(import.meta.dirname, "gallery.mjs")], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, PHOTOS: photos, PORT: "0" },
  });
  for await (const line of createInterface({ input: gallery.stdout })) {
    const [, address] = /^The gallery: (.+)/.exec(line) ?? [];
    if (address) return address;
  }
  throw new Error("the gallery did not start");
}

/** Makes the ladder of a photo, and the page of `make demo` that shows it. */
function ladderPage(photo) {
  const sets = join(folder, "demo/data/files");
  const printed = execFileSync(join(root, "bin/optimizerd"), ["optimize", "--config", "", "-o", sets, photo], {
    encoding: "utf8",
  });
  const { id } = JSON.parse(printed.split("\n")[0]);
  const manifest = JSON.stringify(JSON.parse(readFileSync(join(sets, id, "manifest.json"), "utf8"))).replaceAll(
    "</",
    "<\\/",
  );
  const page = readFileSync(join(root, "scripts/demo.html"), "utf8").replace(/^@MANIFEST@$/m, () => manifest);
  const file = join(folder, "demo/index.html");
  writeFileSync(file, page);
  return `file://${file}`;
}

try {
  mkdirSync(output, { recursive: true });
  const photos = join(folder, "photos");
  mkdirSync(photos);
  const easel = await browser.newPage();
  const module = readFileSync(join(import.meta.dirname, "scenes.mjs"), "utf8");
  for (const scene of scenes) {
    const painted = await easel.evaluate(
      async ([source, scene]) => {
        const { paint } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
        return paint(scene);
      },
      [module, scene],
    );
    writeFileSync(join(photos, `${scene.name}.jpg`), Buffer.from(painted, "base64"));
  }
  await easel.close();

  const address = await openGallery(photos);
  await shoot("gallery-desktop", address, { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.5 });
  await shoot("gallery-phone", address, {
    ...{ viewport: { width: 390, height: 800 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
    colorScheme: "dark",
  });
  await shoot("ladder", ladderPage(join(photos, "Mountains at dawn.jpg")), {
    viewport: { width: 1280, height: 1000 },
    deviceScaleFactor: 1.5,
  });
} finally {
  if (gallery && gallery.exitCode === null) {
    gallery.kill("SIGTERM");
    await once(gallery, "exit");
  }
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
