// The owner's menu, in a gallery whose end is never reached.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Image } from "../../src/api";
import { expectAccessible } from "./accessible";
import { expectNoShifts, watchShifts } from "./shifts";
import { Site, openBrowser, openPage, screenshot, settle } from "./site";

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

/** Has the list go on for ever: each page has twenty images, all with the files of one. */
async function endless(page: Page): Promise<void> {
  await page.route("**/api/images?*", (route) => {
    const from = Number(new URL(route.request().url()).searchParams.get("cursor") ?? 0);
    const ids = Array.from({ length: 20 }, (_, n) => String(from + n).padStart(26, "0"));
    return route.fulfill({ json: { images: ids.map((id) => ({ ...cat, id })), cursor: String(from + 20) } });
  });
  await page.route("**/images/0*", (route) =>
    route.continue({
      url: route
        .request()
        .url()
        .replace(/\/images\/\d+/, `/images/${cat.id}`),
    }),
  );
}

for (const colorScheme of ["light", "dark"] as const) {
  test(`in an endless gallery the owner reaches everything from the top, in the ${colorScheme}`, async () => {
    for (const width of [320, 360, 768, 1440]) {
      const { page, complaints } = await openPage(browser, { viewport: { width, height: 800 }, colorScheme });
      await site.admit(page);
      await watchShifts(page);
      await endless(page);
      await page.goto(site.url);
      await settle(page);
      await page.locator("#menu-open").waitFor();
      // By keyboard alone, and before anything of the gallery has the focus.
      const focused = () => page.evaluate(() => document.activeElement?.id);
      for (const id of ["q", "menu-open"]) {
        await page.keyboard.press("Tab");
        expect(await focused()).toBe(id);
      }
      await page.keyboard.press("Enter");
      const items: string[] = [];
      for (const item of await page.locator("#menu :is(button, input):visible").all()) {
        await page.keyboard.press("Tab");
        expect(await item.evaluate((element) => element === document.activeElement)).toBe(true);
        items.push(await item.evaluate((element) => (element.closest("label") ?? element).textContent));
      }
      expect(items).toEqual([
        "Select images",
        "Deleted images",
        "Invite others to add images",
        "Remake all images",
        "Send smaller copies: faster on a slow connection",
        "Sign out",
      ]);
      await settle(page);
      await screenshot(page, `menu-${width}-${colorScheme}`);
      await expectAccessible(page);
      const box = await page.locator("#menu").boundingBox();
      expect(box?.x).toBeGreaterThanOrEqual(0);
      expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(width);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      await page.keyboard.press("Escape");
      expect(await focused()).toBe("menu-open");
      await expectNoShifts(page);
      expect(complaints).toEqual([]);
      await page.context().close();
    }
  });
}

test("a long title is where it was when the owner's buttons appear", async () => {
  const { page } = await openPage(browser, { viewport: { width: 320, height: 640 } });
  await site.admit(page);
  let known: () => void = () => {};
  const session = new Promise<void>((resolve) => {
    known = resolve;
  });
  await page.route("**/api/session", async (route) => {
    await session;
    await route.continue();
  });
  await page.goto(site.url);
  const title = page.locator("h1");
  await title.evaluate((element) => {
    element.textContent = "Katzenfotografie aus aller Welt";
  });
  const header = () =>
    page.locator("header.top").evaluate((element) => JSON.stringify(element.getBoundingClientRect()));
  const search = page.locator("#search");
  const before = [await header(), await title.boundingBox(), await search.boundingBox()];
  known();
  await page.locator("#menu-open").waitFor();
  expect([await header(), await title.boundingBox(), await search.boundingBox()]).toEqual(before);
  await page.getByRole("button", { name: "Menu" }).click();
  const button = await page.locator("#menu-open").boundingBox();
  const menu = await page.locator("#menu").boundingBox();
  expect(menu?.y).toBeGreaterThanOrEqual((button?.y ?? 0) + (button?.height ?? 0));
  await page.context().close();
});
