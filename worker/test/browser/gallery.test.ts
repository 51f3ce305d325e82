// The gallery in Debian's Chromium, in the order in which it is used.

import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Image, ImageList } from "../../src/api";
import { expectAccessible } from "./accessible";
import { cdp, drop, throttle, watchRows } from "./page";
import { expectNoShifts, watchShifts } from "./shifts";
import {
  Site,
  type Watched,
  choose,
  openBrowser,
  openPage,
  ownerToken,
  photo,
  screenshot,
  settle,
  signIn,
} from "./site";

const viewports = [
  { name: "phone", viewport: { width: 390, height: 844 }, deviceScaleFactor: 3, hasTouch: true, isMobile: true },
  { name: "tablet", viewport: { width: 820, height: 1180 }, deviceScaleFactor: 2 },
  { name: "desktop", viewport: { width: 1440, height: 900 }, deviceScaleFactor: 1 },
];
const schemes = ["light", "dark"] as const;

let site: Site;
let browser: Browser;
let folder: string;
let watched: Watched[] = [];

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  folder = await mkdtemp(join(tmpdir(), "optimizerd-browser-"));
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
  if (folder) await rm(folder, { recursive: true, force: true });
});

afterEach(async () => {
  const complaints = watched.flatMap((page) => page.complaints);
  for (const { page } of watched) await page.context().close();
  watched = [];
  expect(complaints).toEqual([]);
});

/** A page that is still blank. */
async function blank(options: BrowserContextOptions = {}, provoked?: RegExp): Promise<Page> {
  const opened = await openPage(browser, { viewport: { width: 1280, height: 800 }, ...options }, provoked);
  watched.push(opened);
  return opened.page;
}

async function openAsVisitor(options: BrowserContextOptions = {}, provoked?: RegExp): Promise<Page> {
  const page = await blank(options, provoked);
  await page.goto(site.url);
  return page;
}

async function openAsOwner(options: BrowserContextOptions = {}, provoked?: RegExp): Promise<Page> {
  const page = await blank(options, provoked);
  await beOwner(page);
  await page.goto(site.url);
  return page;
}

async function beOwner(page: Page): Promise<void> {
  await site.admit(page);
}

/** The list as the owner has it: visitors share one for two minutes. */
async function list(): Promise<Image[]> {
  const response = await fetch(`${site.url}/api/images`, { headers: { Authorization: `Bearer ${ownerToken}` } });
  return ((await response.json()) as ImageList).images;
}

const cards = (page: Page) => page.locator(".card:visible");
const row = (page: Page, name: string) => page.locator("#tray-rows li").filter({ hasText: name });

test("an empty gallery says so", async () => {
  const page = await openAsVisitor({}, /401/);
  await page.getByText("There are no images yet.").waitFor();
  expect(await page.getByLabel("Add images").isVisible()).toBe(false);
  await expectAccessible(page);
  await signIn(page);
  await page.getByText("Drop images anywhere").waitFor();
  await screenshot(page, "empty");
});

test("by keyboard alone: sign in, upload, look, and find all again after a reload", async () => {
  const page = await openAsVisitor({}, /401/);
  const { keyboard } = page;
  await page.getByRole("button", { name: "Sign in" }).waitFor();

  const focused = () => page.evaluate(() => document.activeElement?.id);
  while ((await focused()) !== "sign-in-open") await keyboard.press("Tab");
  await keyboard.press("Enter");
  await keyboard.type("not the token");
  await keyboard.press("Enter");
  await page.getByText("This token is not valid.").waitFor();
  // It is selected, to be written over.
  await keyboard.type(ownerToken);
  await keyboard.press("Enter");
  await page.locator("#files").waitFor({ state: "attached" });
  await page.locator("#sign-in").waitFor({ state: "hidden" });

  // Before it is needed: the browser is asked not to show its own in its own time.
  const chooser = page.waitForEvent("filechooser");
  await throttle(page, 250_000);
  // So fast a machine might have it made before anybody asks.
  const working = { upload: "", status: "working", stored: 0, total: 0, image: null, duplicate: false, error: null };
  await page.route("**/api/uploads/*", (route) => route.fulfill({ json: working }), { times: 1 });
  const seen = await watchRows(page);
  while ((await focused()) !== "files") await keyboard.press("Tab");
  await keyboard.press("Enter");
  await (await chooser).setFiles([photo("northern_cardinal_bird.jpg"), photo("test_square.jpg")]);
  // Of all that the bar has shown: a busy machine may look when it is gone.
  await expect.poll(async () => Math.max(0, ...(await seen()).values)).toBeGreaterThan(0.4);
  await screenshot(page, "uploading");
  await cards(page).nth(1).waitFor();
  await page.getByText("2 added").waitFor();

  const { values, texts } = await seen();
  // 829 kB at 250 kB/s: a bar that moves.
  expect(values.length).toBeGreaterThan(2);
  expect(values).toEqual([...values].sort((a, b) => a - b));
  expect(texts).toContain("Optimizing…");
  expect(texts).toContain("Added");
  expect(await page.locator("#announcer").textContent()).toMatch(/ is in the gallery\.$/);

  await page.reload();
  await settle(page);
  expect(await cards(page).count()).toBe(2);

  // What has the focus is opened, and has it again.
  const names = await cards(page)
    .locator("img")
    .evaluateAll((imgs) => imgs.map((img) => img.getAttribute("alt")));
  expect(names).toEqual((await list()).map(({ alt }) => alt));
  expect(names).toEqual(["northern cardinal bird", "test square"]);
  const name = () => page.evaluate(() => document.activeElement?.closest("a")?.querySelector("img")?.alt);
  while ((await name()) !== names[0]) await keyboard.press("Tab");
  await keyboard.press("Enter");
  await page.getByText("1 of 2").waitFor();
  await keyboard.press("ArrowRight");
  await page.getByText("2 of 2").waitFor();
  await settle(page);
  await keyboard.press("Escape");
  await page.locator("#lightbox").waitFor({ state: "hidden" });
  await expect.poll(name).toBe(names[1]);
  await page.waitForURL(`${site.url}/`);
}, 600_000);

describe("with pictures of many shapes", () => {
  let images: Image[];

  beforeAll(async () => {
    for (const [name, filename] of [
      ["test.heic", "Bottles on a desk.heic"],
      ["vertical.jpg", "milky way.jpg"],
      ["test_exif.jpg", "Over_the_fjord.jpg"],
      ["test_smart_crop.jpg", "A square of tiles.jpg"],
      ["test2.heic", "test two.heic"],
      ["transparent.png", "dice.png"],
    ] as const) {
      await site.seed(name, filename);
    }
    images = await list();
  }, 600_000);

  for (const { name, ...options } of viewports) {
    test(`a ${name} gets the format it knows and the width it needs`, async () => {
      const browsers: { disabled: string[]; format: string }[] = [
        { disabled: [], format: "avif" },
        { disabled: ["avif"], format: "webp" },
        { disabled: ["avif", "webp"], format: "jpeg" },
      ];
      for (const { disabled, format } of browsers) {
        const page = await blank(options);
        await beOwner(page);
        const types = new Map<string, string | undefined>();
        page.on("response", (response) => types.set(response.url(), response.headers()["content-type"]));
        // As in a browser that cannot decode these: <picture> passes over them.
        await (await cdp(page)).send("Emulation.setDisabledImageTypes", {
          imageTypes: disabled as ("avif" | "webp")[],
        });
        await page.goto(site.url);
        await settle(page);
        const drawn = await page
          .locator(".frame.loaded img")
          .evaluateAll((imgs) =>
            (imgs as HTMLImageElement[]).map(({ currentSrc, alt, offsetWidth }) => ({ currentSrc, alt, offsetWidth })),
          );
        expect(drawn.length).toBeGreaterThan(2);
        let ofFormat = 0;
        for (const { currentSrc, alt, offsetWidth } of drawn) {
          const { formats = {} } = images.find((image) => image.alt === alt) ?? {};
          const widths = formats.jpeg ?? [];
          const width = widths.find((width) => width >= offsetWidth * options.deviceScaleFactor) ?? widths.at(-1) ?? 0;
          // What would be no smaller in a format is not stored in it.
          const stored = (["avif", "webp", "jpeg"] as const)
            .filter((known) => !disabled.includes(known))
            .find((known) => formats[known]?.includes(width));
          const { search } = new URL(currentSrc);
          expect(`${alt}: ${search} is ${types.get(currentSrc)}`).toBe(
            `${alt}: ?w=${width}&f=${stored} is image/${stored}`,
          );
          if (stored === format) ofFormat++;
        }
        expect(ofFormat).toBeGreaterThan(drawn.length / 2);
      }
    });
  }

  test("nothing moves while a gallery loads, is scrolled, and goes on loading", async () => {
    for (const { name: _, ...options } of viewports) {
      // The owner's page has more on it that could push.
      const page = await blank(options);
      await beOwner(page);
      await watchShifts(page);
      await inPages(page, 3);
      await page.goto(site.url);
      await settle(page);
      await expect
        .poll(async () => {
          await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
          return cards(page).count();
        })
        .toBe(images.length);
      await settle(page);
      await expectNoShifts(page);
    }
  }, 600_000);

  for (const colorScheme of schemes) {
    test(`is accessible in the ${colorScheme}, and looks like this`, async () => {
      for (const { name, ...options } of viewports) {
        // What is on the page is the same at every width, and axe takes seconds.
        const check = () => (name === "tablet" ? Promise.resolve() : expectAccessible(page));
        const page = await blank({ ...options, colorScheme });
        await inPages(page, 100);
        await page.goto(site.url);
        await settle(page);
        await screenshot(page, `${name}-${colorScheme}`);
        await check();
        await signIn(page);
        await cards(page).nth(1).getByRole("link").click();
        await settle(page);
        await screenshot(page, `${name}-${colorScheme}-picture`);
        await check();
        await page.locator("#lightbox-delete").click();
        await settle(page);
        await screenshot(page, `${name}-${colorScheme}-delete`);
        await check();
        await page.getByRole("button", { name: "Keep it" }).click();
        await page.locator("#lightbox-close").click();
        const long = "A square picture whose name is far too long for its row.jpg";
        await page.locator("#files").setInputFiles([
          { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("notes") },
          { name: "nothing.jpg", mimeType: "image/jpeg", buffer: Buffer.from("") },
          { name: long, mimeType: "image/jpeg", buffer: await readFile(photo("test_square.jpg")) },
        ]);
        await page.getByText("1 added, 2 failed").waitFor();
        await settle(page);
        await screenshot(page, `${name}-${colorScheme}-uploads`);
        await check();
        await page.getByRole("button", { name: "Close the uploads" }).click();
        await choose(page, "Sign out");
        await page.getByRole("button", { name: "Sign in" }).click();
        await settle(page);
        await screenshot(page, `${name}-${colorScheme}-sign-in`);
        await check();
      }
    }, 600_000);
  }

  test("a picture has an address, which the back button leaves", async () => {
    const page = await blank({ permissions: ["clipboard-read", "clipboard-write"] });
    // On the last of the pages of the list, which need not be loaded for it.
    await inPages(page, 3);
    const last = images.at(-1) as Image;
    await page.goto(`${site.url}/p/${last.id}`);
    await page.locator("#caption").getByText(last.alt).waitFor();
    await page.getByRole("button", { name: "Copy link" }).click();
    await page.getByText("Link copied.").waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${site.url}/p/${last.id}`);
    expect(await page.title()).toBe(`${last.alt} · Gallery`);
    expect(await page.getByRole("button", { name: "Copy HTML" }).isVisible()).toBe(false);
    await page.keyboard.press("Escape");
    await page.locator("#lightbox").waitFor({ state: "hidden" });
    await page.waitForURL(`${site.url}/`);

    await signIn(page);
    await cards(page).first().getByRole("link").click();
    await page.getByRole("button", { name: "Copy HTML" }).click();
    await page.getByText("HTML copied.").waitFor();
    const html = await page.evaluate(() => navigator.clipboard.readText());
    expect(html.match(/<source type="[^"]+"/g)).toEqual(['<source type="image/avif"', '<source type="image/webp"']);
    for (const [url] of html.matchAll(/http:[^ "]+/g)) {
      expect((await fetch(url.replaceAll("&amp;", "&"))).status).toBe(200);
    }
    await page.goBack();
    await page.locator("#lightbox").waitFor({ state: "hidden" });
    expect(await cards(page).count()).toBeGreaterThan(2);
  });

  test("an open picture has its neighbors loaded, so that a step needs no connection", async () => {
    const page = await openAsOwner({}, /ERR_FAILED/);
    await settle(page);
    const second = (await list())[1]?.id ?? "";
    const loaded: string[] = [];
    page.on("requestfinished", (request) => void loaded.push(request.url()));
    await cards(page).first().getByRole("link").click();
    await expect.poll(() => loaded.filter((url) => url.includes(`/images/${second}?`))).toHaveLength(1);
    await page.route("**/images/*", (route) => route.abort());
    await page.keyboard.press("ArrowRight");
    await page.getByText(/^2 of/).waitFor();
    await page.locator("#stage .loaded").waitFor();
  });

  test("a swipe goes on to the next picture", async () => {
    const page = await openAsOwner(viewports[0]);
    await cards(page).first().getByRole("link").tap();
    await page.getByText(/^1 of/).waitFor();
    const touch = await cdp(page);
    await touch.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [{ x: 300, y: 400 }] });
    await touch.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: [{ x: 120, y: 405 }] });
    await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
    await page.getByText(/^2 of/).waitFor();
  });

  test("what cannot be taken is refused in plain words, and the rest goes on", async () => {
    const page = await openAsOwner({}, /415/);
    await settle(page);
    const large = join(folder, "large.jpg");
    await writeFile(large, "");
    await truncate(large, 100_000_001);
    const disguised = join(folder, "<b>disguised.jpg");
    await writeFile(disguised, "I am not an image.\n".repeat(100));
    // So fast a machine might have it stored before anybody asks.
    const storing = { upload: "", status: "storing", stored: 3, total: 14, image: null, duplicate: false, error: null };
    await page.route("**/api/uploads/*", (route) => route.fulfill({ json: storing }), { times: 1 });
    const seen = await watchRows(page);
    await page.locator("#files").setInputFiles([large, disguised, photo("test_square.jpg")]);
    await row(page, "large.jpg").getByText("This file is too large: 101 MB; the limit is 100 MB.").waitFor();
    // The daemon's own words, and the name as it is.
    await row(page, "<b>disguised.jpg")
      .getByText("Unsupported format: send a JPEG, PNG, WebP, GIF, HEIC, AVIF or TIFF image.")
      .waitFor();
    await row(page, "test_square.jpg").getByText("Already here").waitFor();
    expect((await seen()).texts).toContain("Storing 3 of 14");
    expect(await page.getByRole("button", { name: /Try again/ }).count()).toBe(0);
    // It was there, so it moved to the front.
    expect(await cards(page).count()).toBe((await list()).length);
    expect(await cards(page).first().locator("img").getAttribute("alt")).toBe("test square");
  });

  test("with the optimizer off, twelve photos are saved, survive a reload, and appear by themselves", async () => {
    const page = await openAsOwner();
    await site.daemon.stop();
    const bytes = await readFile(photo("test_square.jpg"));
    const files = Array.from({ length: 12 }, (_, n) => ({
      name: `off ${n + 1}.jpg`,
      mimeType: "image/jpeg",
      // Each another image to the daemon.
      buffer: Buffer.concat([bytes, Buffer.from(`off ${n}`)]),
    }));
    await page.locator("#files").setInputFiles(files);
    // The last is sent first.
    await row(page, "off 12.jpg").getByText("Saved. It will be processed when the optimizer is back.").waitFor();
    await expect.poll(() => page.locator("#tray-rows li[data-step=saved]").count()).toBe(12);
    await screenshot(page, "saved");
    await expectAccessible(page);
    await page.reload();
    await expect.poll(() => page.locator("#tray-rows li[data-step=saved]").count()).toBe(12);
    await site.daemon.start();
    // The longer it was off, the longer the page waits between its attempts.
    await page.getByText("12 added").waitFor({ timeout: 500_000 });
    const names = (await list()).map(({ alt }) => alt);
    expect(files.every(({ name }) => names.includes(name.replace(".jpg", "")))).toBe(true);
    // What is finished is not taken up again.
    await page.reload();
    await settle(page);
    expect(await page.locator("#tray").isVisible()).toBe(false);
  });

  test("photos that are chosen together are in their order, also if they are made side by side", async () => {
    await site.daemon.stop();
    site.daemon.settings = { "codec.processes": "2" };
    await site.daemon.start();
    const page = await openAsOwner();
    await settle(page);
    const bytes = await readFile(photo("test_square.jpg"));
    const large = await readFile(photo("test_icc_prophoto.jpg"));
    const files = Array.from({ length: 12 }, (_, n) => ({
      name: `chosen ${String.fromCharCode(65 + n)}.jpg`,
      mimeType: "image/jpeg",
      buffer: Buffer.concat([n % 3 ? bytes : large, Buffer.from(`chosen ${n}`)]),
    }));
    const chosen = files.map(({ name }) => name);
    await page.locator("#files").setInputFiles(files);
    expect(await page.locator("#tray-rows .name").allTextContents()).toEqual(chosen);
    await page.getByText("12 added").waitFor({ timeout: 500_000 });
    const shown = () =>
      cards(page)
        .locator("img")
        .evaluateAll((imgs) => imgs.slice(0, 12).map((img) => `${img.getAttribute("alt")}.jpg`));
    expect(await shown()).toEqual(chosen);
    await page.evaluate(() => sessionStorage.clear());
    await page.reload();
    await settle(page);
    expect(await shown()).toEqual(chosen);
  });

  test("a connection that is lost is retried by itself, a large file from its last part on", async () => {
    const page = await openAsOwner({}, /ERR_FAILED/);
    const asked: string[] = [];
    await page.route("**/api/uploads/*/*", (route) => {
      asked.push(new URL(route.request().url()).pathname.split("/").pop() ?? "");
      return asked.length === 2 ? route.abort() : route.continue();
    });
    const large = Buffer.concat([await readFile(photo("test_square.jpg")), Buffer.alloc(2 * (8 << 20), 1)]);
    await page.locator("#files").setInputFiles({ name: "large.jpg", mimeType: "image/jpeg", buffer: large });
    await row(page, "large.jpg").getByText("Added").waitFor();
    expect(asked).toEqual(["1", "2", "2", "3"]);
  });

  test("a gallery that is busy gets the file again, after the time that it names", async () => {
    const page = await openAsOwner({}, /429|503/);
    const busy = [
      {
        status: 429,
        headers: { "Retry-After": "1" },
        json: { code: "too_many_requests", detail: "Too many uploads." },
      },
      { status: 503, headers: { "Retry-After": "1" }, json: { code: "unavailable", detail: "R2 is out of reach." } },
    ];
    await page.route("**/api/images?filename=*", (route) => {
      const answer = busy.shift();
      return answer ? route.fulfill(answer) : route.continue();
    });
    const seen = await watchRows(page);
    const buffer = Buffer.concat([await readFile(photo("test_square.jpg")), Buffer.from("busy")]);
    await page.locator("#files").setInputFiles({ name: "busy.jpg", mimeType: "image/jpeg", buffer });
    await row(page, "busy.jpg").getByText("Added").waitFor();
    expect((await seen()).texts).toEqual(expect.arrayContaining(["Too many uploads.", "R2 is out of reach."]));
    expect(busy).toEqual([]);
  });

  test("what has waited in vain is tried again by one button", async () => {
    const page = await openAsOwner();
    await settle(page);
    const error = { code: "optimizer_unavailable", message: "The optimizer was out of reach for 14 days." };
    const json = { upload: "", status: "failed", stored: 0, total: 0, image: null, duplicate: false, error };
    await page.route("**/api/uploads/*", (route) => route.fulfill({ json }));
    const bytes = await readFile(photo("test_square.jpg"));
    const files = ["one", "two"].map((name) => ({
      name: `in vain ${name}.jpg`,
      mimeType: "image/jpeg",
      buffer: Buffer.concat([bytes, Buffer.from(`in vain ${name}`)]),
    }));
    await page.locator("#files").setInputFiles(files);
    await page.getByText("2 failed").waitFor();
    expect(await row(page, "in vain one.jpg").textContent()).toContain(error.message);
    await expectAccessible(page);
    await page.unroute("**/api/uploads/*");
    await page.getByRole("button", { name: "Try all again" }).click();
    // The button is gone, the focus is not.
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("tray-fold");
    await page.getByText("2 added").waitFor();
    expect(await page.getByRole("button", { name: /^Try/ }).count()).toBe(0);
  });

  test("dropped by a stranger, files wait until the owner has signed in", async () => {
    const page = await openAsVisitor({}, /401/);
    await page.getByRole("button", { name: "Sign in" }).waitFor();
    await drop(page, "dropped.txt", "text/plain");
    await row(page, "dropped.txt").getByText("This is not an image.").waitFor();
    await page
      .getByText("Only the owner and invited guests can add images. Sign in, or open your invite again.")
      .waitFor();
    await page.getByLabel("Token").fill(ownerToken);
    await page.keyboard.press("Enter");
    await page.locator("html[data-session=owner]").waitFor();

    // A session that ends meanwhile is no reason to choose everything again.
    await page.context().clearCookies();
    await page.locator("#files").setInputFiles(photo("test_square.jpg"));
    await page.getByText("You are signed out. Sign in to continue.").waitFor();
    await page.getByLabel("Token").fill(ownerToken);
    await page.keyboard.press("Enter");
    await row(page, "test_square.jpg").getByText("Already here").waitFor();

    // A visitor's list may have been older than these pictures.
    await expect.poll(() => cards(page).count()).toBe((await list()).length);
  });

  test("the owner deletes, after a question, and a list that is behind brings nothing back", async () => {
    const page = await blank();
    await inPages(page, 100);
    await page.goto(site.url);
    await settle(page);
    expect(await page.getByRole("button", { name: /^Delete/ }).count()).toBe(0);
    await signIn(page);
    const before = await cards(page).count();
    const doomed = cards(page).filter({ has: page.getByAltText("milky way") });
    const stale: ImageList = { images: await list(), cursor: null };

    // A thumbnail has no button that a finger could meet.
    expect(await page.locator(".card button").count()).toBe(0);
    await doomed.getByRole("link").click();
    await page.locator("#lightbox-delete").click();
    await page.getByRole("button", { name: "Keep it" }).click();
    expect(await cards(page).count()).toBe(before);
    await page.locator("#lightbox-delete").click();
    await page.locator("#confirm-delete").click();
    await doomed.waitFor({ state: "detached" });
    // The next one is in its place.
    await page.getByText(`of ${before - 1}`).waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#lightbox").waitFor({ state: "hidden" });
    await expect
      .poll(() => page.evaluate(() => document.activeElement?.getAttribute("href")))
      .toMatch(/^\/p\/[a-z2-7]{26}$/);
    expect((await list()).map(({ alt }) => alt)).not.toContain("milky way");

    await page.route("**/api/images?*", (route) => route.fulfill({ json: stale }));
    await page.reload();
    await settle(page);
    expect(await cards(page).count()).toBe(before - 1);
    expect(await doomed.count()).toBe(0);
  });

  test("a gallery that does not answer says so, and can be tried again", async () => {
    const page = await openAsOwner({}, /503|ERR_FAILED/);
    await page.route("**/api/images?*", (route) => route.fulfill({ status: 503, body: "<h1>oops</h1>" }));
    await page.reload();
    await page.getByText("The gallery answered with an error (503).").waitFor();
    await page.unroute("**/api/images?*");
    await page.route("**/api/images?*", (route) => route.abort(), { times: 1 });
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("The gallery could not be reached.").waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await cards(page).first().waitFor();
  });
});

test("without scripts there is a word of explanation", async () => {
  const page = await openAsVisitor({ javaScriptEnabled: false });
  expect(await page.locator("noscript").innerText()).toContain("needs JavaScript");
});

/** Has the list come in pages of some pictures, as a long one would, and fresh to visitors too. */
async function inPages(page: Page, size: number): Promise<void> {
  await page.route("**/api/images*", async (route) => {
    if (route.request().method() !== "GET") return route.continue();
    const from = Number(new URL(route.request().url()).searchParams.get("cursor") ?? 0);
    const images = await list();
    const cursor = from + size < images.length ? `${from + size}` : null;
    await route.fulfill({ json: { images: images.slice(from, from + size), cursor } });
  });
}
