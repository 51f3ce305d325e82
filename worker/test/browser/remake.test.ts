// The owner changes the ladder and has the images made again, on a narrow phone.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Image } from "../../src/api";
import { expectAccessible } from "./accessible";
import { Site, choose, openBrowser, openPage, screenshot, settle, signIn } from "./site";

let site: Site;
let browser: Browser;
let cat: Image;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  cat = await site.seed("test_square.jpg", "cat.jpg");
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

test("all images are remade by a button, which says how far it is", async () => {
  await site.daemon.stop();
  // An environment variable of this suite has the widths; the quality makes another recipe too.
  site.daemon.settings = { "ladder.quality.webp": "50" };
  await site.daemon.start();
  const { page, complaints } = await openPage(browser, { viewport: { width: 320, height: 640 } });
  await page.goto(site.url);
  expect(await page.locator("#remake").isVisible()).toBe(false);
  await signIn(page);
  // However fast it is, it is not over before that was seen.
  let seen: () => void = () => {};
  const wasSeen = new Promise<void>((resolve) => {
    seen = resolve;
  });
  await page.route("**/api/remake", async (route) => {
    if (route.request().method() === "GET") await wasSeen;
    await route.continue();
  });
  await choose(page, "Remake all images");
  await page.getByText("Remaking images: ").waitFor();
  seen();
  await page.getByText("Remade: 1. Unchanged: 0.").waitFor();
  await settle(page);
  await screenshot(page, "phone-remade");
  await expectAccessible(page);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(320);
  expect(await page.locator("#grid li").count()).toBe(1);
  expect((await fetch(`${site.url}/images/${cat.id}?w=320&f=webp`)).status).toBe(200);
  expect(complaints).toEqual([]);
});
