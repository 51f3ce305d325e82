// The owner deletes several images at once, and takes that back.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Image, ImageList } from "../../src/api";
import { expectAccessible } from "./accessible";
import { expectNoShifts, watchShifts } from "./shifts";
import { Site, choose, openBrowser, openPage, ownerToken, screenshot, settle } from "./site";

let site: Site;
let browser: Browser;
/** As the list has them. */
let names: string[];

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  await site.seed("test_square.jpg", "nebula.jpg");
  await site.seed("test.webp", "tree.webp");
  await site.seed("transparent.png", "dice.png");
  await site.seed("test.jpg", "road.jpg");
  names = (await list()).map(({ alt }) => alt);
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

async function list(): Promise<Image[]> {
  const response = await fetch(`${site.url}/api/images`, { headers: { Authorization: `Bearer ${ownerToken}` } });
  return ((await response.json()) as ImageList).images;
}

async function open(options: Parameters<typeof openPage>[1]): Promise<{ page: Page; complaints: string[] }> {
  const opened = await openPage(browser, options);
  await site.admit(opened.page);
  await watchShifts(opened.page);
  await opened.page.goto(site.url);
  await settle(opened.page);
  return opened;
}

const shown = (page: Page) =>
  page.locator(".card:visible img").evaluateAll((imgs) => imgs.map((img) => img.getAttribute("alt")));
const focused = (page: Page) => page.evaluate(() => document.activeElement?.id);

test("chosen by keyboard, deleted together, taken back, and restored a while later", async () => {
  const { page, complaints } = await open({ viewport: { width: 1280, height: 800 } });
  await choose(page, "Select images");
  expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))).toBe(`Select ${names[0]}`);
  await page.keyboard.press("Space");
  await page.getByText("1 selected").waitFor();
  // With Shift all between are chosen, too.
  await page
    .getByRole("checkbox")
    .nth(2)
    .click({ modifiers: ["Shift"] });
  await page.getByText("3 selected").waitFor();
  await page.keyboard.press("Delete");
  await page.getByText("Delete 3 images?").waitFor();
  await page.locator("#confirm-delete").click();
  await page.locator("#undo-text").getByText("3 images deleted.").waitFor();
  expect(await focused(page)).toBe("undo-restore");
  expect(await shown(page)).toEqual(names.slice(3));
  expect((await list()).map(({ alt }) => alt)).toEqual(names.slice(3));
  await page.keyboard.press("Enter");
  await page.locator("#undo").waitFor({ state: "hidden" });
  expect(await shown(page)).toEqual(names);
  expect((await list()).map(({ alt }) => alt)).toEqual(names);

  // In an open image, with a phone's reload in between.
  const [first] = await list();
  await page.locator(".card a").first().click();
  await page.locator("#lightbox-delete").click();
  await page.locator("#confirm-delete").click();
  await page.getByText("1 image deleted.").waitFor();
  await page.getByRole("button", { name: "Undo" }).click();
  await page
    .locator("#caption")
    .getByText(names[0] ?? "")
    .waitFor();
  await page.locator("#lightbox-delete").click();
  await page.locator("#confirm-delete").click();
  await page.getByText("1 image deleted.").waitFor();
  expect((await fetch(`${site.url}/images/${first?.id}?w=320`)).status).toBe(404);
  await page.keyboard.press("Escape");
  await page.waitForURL(`${site.url}/`);
  await page.reload();
  await settle(page);
  expect(await shown(page)).toEqual(names.slice(1));
  await choose(page, "Deleted images");
  await page.getByRole("button", { name: `Restore: ${names[0]}` }).click();
  await page.getByText("There are no deleted images.").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  expect(await shown(page)).toEqual(names);
  expect(await focused(page)).toBe("menu-open");

  await choose(page, "Select images");
  await page.getByRole("checkbox").first().click();
  await page.keyboard.press("Escape");
  expect(await page.getByRole("checkbox").count()).toBe(0);
  expect(await focused(page)).toBe("menu-open");
  await page.locator(".card a").first().click();
  await page.locator("#lightbox").waitFor();
  expect(complaints).toEqual([]);
  await page.context().close();
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`selecting, taking back and restoring are accessible in the ${colorScheme}`, async () => {
    for (const width of [320, 360, 768, 1440]) {
      const { page, complaints } = await open({ viewport: { width, height: 800 }, colorScheme });
      const check = async (state: string) => {
        await settle(page);
        await screenshot(page, `${state}-${width}-${colorScheme}`);
        await expectAccessible(page);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
        for (const bar of await page.locator(".bar:visible, dialog[open]").all()) {
          const box = await bar.boundingBox();
          expect(box?.x).toBeGreaterThanOrEqual(0);
          expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(width);
        }
      };
      const [name] = await shown(page);
      const restore = page.getByRole("button", { name: `Restore: ${name}` });
      await choose(page, "Select images");
      await page.getByRole("checkbox").first().click();
      await check("select");
      // Nothing has moved for it. (A deletion moves what was behind it.)
      await expectNoShifts(page);
      await page.locator("#select-delete").click();
      await check("confirm");
      await page.locator("#confirm-delete").click();
      await page.getByText("1 image deleted.").waitFor();
      await check("undo");
      await choose(page, "Deleted images");
      await restore.waitFor();
      await check("trash");
      const preview = await page.locator("#trash-rows .blur").first().boundingBox();
      expect(preview?.width).toBeLessThan(50);
      await restore.click();
      await restore.waitFor({ state: "detached" });
      expect(complaints).toEqual([]);
      await page.context().close();
    }
  });
}

test("deleted for good it is not in the trash", async () => {
  const { page } = await open({ viewport: { width: 1280, height: 800 } });
  await page.locator(".card a").first().click();
  await page.locator("#lightbox-delete").click();
  await page.getByRole("button", { name: "Delete for good" }).click();
  await page.getByText(`of ${names.length - 1}`).waitFor();
  expect(await page.locator("#undo").isVisible()).toBe(false);
  await page.keyboard.press("Escape");
  await page.waitForURL(`${site.url}/`);
  await choose(page, "Deleted images");
  await page.getByText("There are no deleted images.").waitFor();
  await page.context().close();
});
