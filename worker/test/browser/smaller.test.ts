// Smaller copies for slow connections, made in the page.

import { readFile } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Manifest } from "../../src/api";
import { token } from "../node/daemon";
import { Site, openBrowser, openPage, photo, settle } from "./site";

let site: Site;
let browser: Browser;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

/** What the daemon got under a name, the last first. */
async function got(filename: string): Promise<Manifest[]> {
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch(`${site.daemon.url}/v1/images?limit=100`, { headers });
  const { items } = (await response.json()) as { items: Manifest[] };
  return items.filter(({ source }) => source.filename === filename);
}

const bytesOf = async (name: string) => (await readFile(photo(name))).length;

async function choose(page: Page, wanted: boolean): Promise<void> {
  await page.getByRole("button", { name: "Menu" }).click();
  await page.getByLabel("Send smaller copies").setChecked(wanted);
  await page.keyboard.press("Escape");
}

test("a photo is sent as a smaller copy if that is wanted, upright, and others as they are", async () => {
  const { page, complaints } = await openPage(browser, { viewport: { width: 360, height: 740 } });
  await site.admit(page);
  await page.goto(site.url);
  await settle(page);
  await choose(page, true);
  // Kept for the next time.
  await page.reload();
  await settle(page);
  // 12 megapixels that EXIF turns; one that is small already; one that may be transparent.
  const names = ["test_exif_full.jpg", "test_square.jpg", "transparent.png"];
  await page.locator("#files").setInputFiles(names.map(photo));
  await page.getByText("3 added").waitFor();
  const [copy] = await got("test_exif_full.jpg");
  expect([copy?.width, copy?.height]).toEqual([2048, 2731]);
  expect(copy?.source.bytes).toBeLessThan((await bytesOf("test_exif_full.jpg")) * 0.8);
  expect(copy?.source.taken_at).toBeDefined();
  for (const name of names.slice(1)) {
    const [{ source } = { source: null }] = await got(name);
    expect([name, source?.bytes]).toEqual([name, await bytesOf(name)]);
  }

  // Without it, the photo itself: another image.
  await page.getByRole("button", { name: "Close the uploads" }).click();
  await choose(page, false);
  await page.locator("#files").setInputFiles(photo("test_exif_full.jpg"));
  await page.getByText("1 added").waitFor();
  const [whole, ...others] = await got("test_exif_full.jpg");
  expect(others).toEqual([copy]);
  expect(whole?.source.bytes).toBe(await bytesOf("test_exif_full.jpg"));
  expect(whole?.source.taken_at).toBe(copy?.source.taken_at);
  expect(complaints).toEqual([]);
  await page.context().close();
});
