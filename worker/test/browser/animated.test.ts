// An animation: still in the grid, in motion when it is open.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Site, openBrowser, openPage, settle } from "./site";

let site: Site;
let browser: Browser;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  await site.seed("test.gif", "spinning.gif");
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

/** Whether the file that the only image in there shows is an animation. */
async function moves(page: Page, where: string): Promise<boolean> {
  await settle(page);
  const file = await page.locator(`${where} img`).evaluate((img) => (img as HTMLImageElement).currentSrc);
  // The chunk of a WebP that has the loop count of its animation.
  return Buffer.from(await (await fetch(file)).arrayBuffer()).includes("ANIM");
}

for (const reducedMotion of ["no-preference", "reduce"] as const) {
  test(`an animation is a still in the grid; open, with motion: ${reducedMotion}`, async () => {
    const { page, complaints } = await openPage(browser, { viewport: { width: 390, height: 844 }, reducedMotion });
    await page.goto(site.url);
    expect(await moves(page, ".card")).toBe(false);
    await page.locator(".card a").click();
    expect(await moves(page, "#stage")).toBe(reducedMotion === "no-preference");
    expect(complaints).toEqual([]);
    await page.context().close();
  });
}
