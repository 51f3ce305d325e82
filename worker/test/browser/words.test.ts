// What people write about images, on a narrow phone.

import { readFile } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Image } from "../../src/api";
import { expectAccessible } from "./accessible";
import { Site, openBrowser, openPage, photo, screenshot, settle } from "./site";

let site: Site;
let browser: Browser;
let cat: Image;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  cat = await site.seed("test_square.jpg", "IMG_4711.jpg");
  await site.seed("test.webp", "other.webp");
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

async function narrow(provoked?: RegExp): Promise<{ page: Page; complaints: string[] }> {
  const viewport = { width: 320, height: 640 };
  const opened = await openPage(browser, { viewport, deviceScaleFactor: 2, hasTouch: true, isMobile: true }, provoked);
  await site.admit(opened.page);
  return opened;
}

const widest = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth);

test("an image is described in the lightbox, and found in its album", async () => {
  const { page, complaints } = await narrow();
  await page.goto(`${site.url}/p/${cat.id}`);
  await page.getByRole("button", { name: "Describe" }).click();
  await page.getByLabel("Title").fill("Mitzi");
  await page.getByLabel("Alternative text").fill("A black cat");
  await page.getByLabel("Caption").fill("On the sofa again.");
  await page.getByLabel("Tags").fill("Cats, at home");
  await settle(page);
  await screenshot(page, "phone-words");
  await expectAccessible(page);
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("#caption").getByText("Mitzi").waitFor();
  await page.getByText("On the sofa again.").waitFor();
  const remove = await page.locator("#lightbox-delete").boundingBox();
  expect((remove?.x ?? 999) + (remove?.width ?? 0)).toBeLessThanOrEqual(320);
  await settle(page);
  await screenshot(page, "phone-described");
  await expectAccessible(page);

  await page.locator("#caption-tags").getByRole("link", { name: "cats" }).click();
  await page.waitForURL(`${site.url}/t/cats`);
  await settle(page);
  expect(await page.locator("h1").textContent()).toBe("cats");
  expect(
    await page.locator(".card:visible img").evaluateAll((imgs) => imgs.map((img) => img.getAttribute("alt"))),
  ).toEqual(["A black cat"]);
  await screenshot(page, "phone-album");
  await expectAccessible(page);
  await page.getByRole("link", { name: "All images" }).click();
  await expect.poll(() => page.locator(".card:visible").count()).toBe(2);
  expect(complaints).toEqual([]);
  await page.context().close();
});

test("words that are refused say why, and nothing is lost", async () => {
  const { page } = await narrow(/400/);
  await page.goto(`${site.url}/p/${cat.id}`);
  await page.getByRole("button", { name: "Describe" }).click();
  await page.getByLabel("Tags").fill("a/b");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText(/^tags must be at most 20/).waitFor();
  expect(await page.getByLabel("Tags").inputValue()).toBe("a/b");
  await page.context().close();
});

test("the header fits at 320 pixels, also with a long title", async () => {
  const { page } = await narrow();
  await page.goto(site.url);
  await settle(page);
  expect(await widest(page)).toBe(320);
  await page.locator("h1").evaluate((title) => {
    title.textContent = "Katzenfotografie";
  });
  expect(await widest(page)).toBe(320);
  const add = await page.locator("label.button").boundingBox();
  expect((add?.x ?? 999) + (add?.width ?? 0)).toBeLessThanOrEqual(320);
  await page.context().close();
});

test("an image that fails shows its alternative text", async () => {
  const { page } = await narrow(/ERR_FAILED/);
  await page.route("**/images/*?w=*", (route) => route.abort());
  await page.goto(site.url);
  await page.locator(".frame.broken").first().waitFor();
  const shown = await page
    .locator(".frame.broken img")
    .first()
    .evaluate((img) => [getComputedStyle(img).opacity, img.getAttribute("alt")]);
  expect(shown[0]).toBe("1");
  expect(shown[1]).not.toBe("");
  await page.context().close();
});

test("the screen stays on while images are sent, and no longer", async () => {
  const { page, complaints } = await narrow();
  const events: string[] = [];
  await page.exposeFunction("note", (event: string) => void events.push(event));
  await page.addInitScript(() => {
    const { note } = globalThis as unknown as { note(event: string): Promise<void> };
    const request = async (type: string) => {
      await note(`on ${type}`);
      return { release: () => note("off") };
    };
    Object.defineProperty(navigator, "wakeLock", { value: { request } });
  });
  await page.goto(site.url);
  await settle(page);
  expect(events).toEqual([]);
  await page.locator("#files").setInputFiles(photo("test_icc_prophoto.jpg"));
  await expect.poll(() => events).toEqual(["on screen", "off"]);
  expect(complaints).toEqual([]);
  await page.context().close();
});

test("what the page costs over the wire stays small", async () => {
  const { gzipSync } = await import("node:zlib");
  const folder = new URL("../../site/", import.meta.url);
  const sizes = await Promise.all(
    ["index.html", "style.css", "app.js", "sw.js"].map(
      async (name) => gzipSync(await readFile(new URL(name, folder))).length,
    ),
  );
  const total = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`HTML, CSS and JavaScript, compressed: ${sizes.join(" + ")} = ${total} bytes`);
  expect(total).toBeLessThanOrEqual(30_000);
});
