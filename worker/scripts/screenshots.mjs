// The pictures of the README and of docs/operating.md, from the real thing: the gallery of
// gallery.mjs with painted landscapes, on a desktop and a phone, the page of `make demo` with
// the ladder of one of them, and the status page of a daemon. Writes docs/images/*.webp.
// Usage: make screenshots   (needs Chromium, or CHROMIUM, and vips)
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
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
/** The processes that are running. */
const children = [];

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
  const gallery = spawn(process.execPath, [join(import.meta.dirname, "gallery.mjs")], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, PHOTOS: photos, PORT: "0" },
  });
  children.push(gallery);
  for await (const line of createInterface({ input: gallery.stdout })) {
    const [, address] = /^The gallery: (.+)/.exec(line) ?? [];
    if (address) return address;
  }
  throw new Error("the gallery did not start");
}

/** Has a daemon make the photos and refuse one that is cut off; returns the address of its status page. */
async function statusPage(photos) {
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const admin = `127.0.0.1:${free.address().port}`;
  free.close();
  const settings = { "http.listen": "127.0.0.1:0", "admin.listen": admin, "storage.dir": join(folder, "status") };
  const args = Object.entries(settings).flatMap(([name, value]) => ["--set", `${name}=${value}`]);
  const daemon = spawn(join(root, "bin/optimizerd"), ["serve", "--config", "", ...args], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  children.push(daemon);
  for await (const line of createInterface({ input: daemon.stdout })) {
    const [, address] = /^listening (.+)/.exec(line) ?? [];
    if (!address) continue;
    const upload = (name, body) =>
      fetch(`${address}/v1/images?filename=${encodeURIComponent(name)}`, { method: "POST", body });
    for (const name of readdirSync(photos)) await upload(name, readFileSync(join(photos, name)));
    const [name] = readdirSync(photos);
    await upload("Cut off.jpg", readFileSync(join(photos, name)).subarray(0, 20_000));
    return `http://${admin}/`;
  }
  throw new Error("the daemon did not start");
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
  await shoot("status", await statusPage(photos), {
    viewport: { width: 1000, height: 1000 },
    deviceScaleFactor: 1.5,
    bypassCSP: true, // for what waits
  });
} finally {
  for (const child of children.filter(({ exitCode }) => exitCode === null)) {
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
