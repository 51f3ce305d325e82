// A private gallery: what a stranger sees, and what a link opens.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Image } from "../../src/api";
import { expectAccessible } from "./accessible";
import { Site, openBrowser, openPage, screenshot, settle, signIn } from "./site";

let site: Site;
let browser: Browser;
let cat: Image;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start({ PRIVATE: { type: "json", value: true } });
  cat = await site.seed("test_square.jpg", "cat.jpg");
  await site.seed("test.webp", "other.webp");
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

test("a stranger sees nothing; the owner signs in and sends a link; it opens one image", async () => {
  const phone = { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true };
  const { page, complaints } = await openPage(
    browser,
    { ...phone, permissions: ["clipboard-write", "clipboard-read"] },
    /401/,
  );
  await page.goto(site.url);
  await page.getByText("This gallery is private. Sign in to see it.").waitFor();
  expect(await page.locator(".card").count()).toBe(0);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
  await expectAccessible(page);
  await screenshot(page, "phone-private");

  await signIn(page);
  await expect.poll(() => page.locator(".card").count()).toBe(2);
  expect(await page.getByText("This gallery is private").isVisible()).toBe(false);
  await settle(page);
  // The owner may be faster than the page, which does not know yet whose it is.
  let known: () => void = () => {};
  const session = new Promise<void>((resolve) => {
    known = resolve;
  });
  await page.route("**/api/session", async (route) => {
    await session;
    await route.continue();
  });
  await page.goto(`${site.url}/p/${cat.id}`);
  await page.getByRole("button", { name: "Copy link" }).click();
  known();
  await page.getByText("Link copied. Anyone who has it can see this image for 30 days.").waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(complaints).toEqual([]);
  await page.context().close();

  const stranger = await openPage(browser, phone, /401/);
  await stranger.page.goto(link);
  const shown = stranger.page.locator("#stage img");
  await expect.poll(() => shown.evaluate((img) => (img as HTMLImageElement).naturalWidth)).toBeGreaterThan(0);
  await settle(stranger.page);
  await expectAccessible(stranger.page);
  await screenshot(stranger.page, "phone-private-link");
  // Nothing else is behind it.
  await stranger.page.getByRole("button", { name: "Close" }).click();
  await stranger.page.getByText("This gallery is private. Sign in to see it.").waitFor();
  expect(await stranger.page.locator(".card").count()).toBe(0);
  expect(stranger.complaints).toEqual([]);
  await stranger.page.context().close();
});
