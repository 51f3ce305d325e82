// What the page can look like, at every width, in light and dark: axe finds nothing, and
// nothing is wider than the window. (The menu, invites, selecting, the trash and what could
// not be shared have their own tests.)

import { readFile } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectAccessible } from "./accessible";
import { Site, openBrowser, openPage, ownerToken, photo, settle } from "./site";

const widths = [320, 360, 768, 1440];

let site: Site;
let browser: Browser;
let id: string;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  ({ id } = await site.seed("test_square.jpg", "cat.jpg"));
  await site.seed("test.gif", "spinning.gif");
  const words = { title: "Mitzi", alt: "A black cat", caption: "On the sofa again.", tags: ["cats", "at home"] };
  const headers = { Authorization: `Bearer ${ownerToken}` };
  await fetch(`${site.url}/api/images/${id}`, { method: "PATCH", headers, body: JSON.stringify(words) });
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

/** Has the list answer like this. */
const listing = (page: Page, response: { status?: number; json?: object; body?: string }) =>
  page.route("**/api/images?*", (route) => route.fulfill(response));
const none = { json: { images: [], cursor: null } };

/** How each state comes about, on a page that is not open yet. */
const states: Record<string, { owner?: true; reach(page: Page): Promise<unknown> }> = {
  "the gallery": { reach: (page) => go(page, "/") },
  "the owner's gallery": { owner: true, reach: (page) => go(page, "/") },
  "an album": { reach: (page) => go(page, "/t/cats") },
  "a search": { reach: (page) => go(page, "/?q=black") },
  "a search in an album": { reach: (page) => go(page, "/t/cats?q=black") },
  "a search that finds nothing": { reach: (page) => go(page, `/?q=${"wallpaper".repeat(10)}`) },
  "a search in an album that finds nothing": { owner: true, reach: (page) => go(page, "/t/cats?q=dogs") },
  "a search that is refused": { reach: (page) => go(page, "/?q=a+b+c+d+e+f+g+h+i+j+k") },
  "an empty gallery": { reach: (page) => go(page, "/", () => listing(page, none)) },
  "the owner's empty gallery": { owner: true, reach: (page) => go(page, "/", () => listing(page, none)) },
  "a gallery that does not answer": { reach: (page) => go(page, "/", () => listing(page, { status: 503, body: "" })) },
  "a private gallery": { reach: (page) => go(page, "/", () => listing(page, { status: 401, json: {} })) },
  "an open image": { reach: (page) => go(page, `/p/${id}`) },
  "the owner's open image": { owner: true, reach: (page) => go(page, `/p/${id}`) },
  "an image that is gone": { reach: (page) => page.goto(`${site.url}/p/${"a".repeat(26)}`) },
  "the words of an image": {
    owner: true,
    reach: async (page) => {
      await go(page, `/p/${id}`);
      await page.getByRole("button", { name: "Describe" }).click();
      await page.getByLabel("Tags").fill("a/b");
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText(/^tags must be at most 20/).waitFor();
    },
  },
  "signing in": {
    reach: async (page) => {
      await go(page, "/");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByLabel("Token").fill("not the token");
      await page.keyboard.press("Enter");
      await page.getByText("This token is not valid.").waitFor();
    },
  },
  "remaking all images": {
    owner: true,
    reach: async (page) => {
      const json = { running: true, total: 12, done: 3, unchanged: 1, failed: {} };
      await page.route("**/api/remake", (route) => route.fulfill({ json }));
      await go(page, "/");
      await page.getByRole("button", { name: "Menu" }).click();
      await page.locator("#remake-progress").waitFor();
    },
  },
  "an upload on its way": {
    owner: true,
    reach: async (page) => {
      await page.route("**/api/images?filename=*", () => {}); // never answered
      await go(page, "/");
      await page.locator("#files").setInputFiles([photo("test.webp"), photo("test_square.jpg")]);
      await page.locator("#tray-rows li[data-step=sending]").waitFor();
    },
  },
  "uploads that have ended": {
    owner: true,
    reach: async (page) => {
      await go(page, "/");
      const buffer = await readFile(photo("test_square.jpg"));
      const long = "A square picture whose name is far too long for its row.svg";
      await page.locator("#files").setInputFiles([
        { name: "cat.jpg", mimeType: "image/jpeg", buffer },
        { name: "nothing.jpg", mimeType: "image/jpeg", buffer: Buffer.from("") },
        { name: long, mimeType: "image/svg+xml", buffer },
      ]);
      await page.getByText("1 added, 2 failed").waitFor();
    },
  },
};

async function go(page: Page, path: string, before?: () => Promise<unknown>): Promise<void> {
  await before?.();
  await page.goto(site.url + path);
  await settle(page);
}

test.each(Object.keys(states))("accessible at all widths, in light and dark: %s", async (name) => {
  const { owner, reach } = states[name] as (typeof states)[string];
  const { page, complaints } = await openPage(browser, { viewport: { width: 320, height: 740 } }, /40[014]|503/);
  if (owner) await site.admit(page);
  await reach(page);
  if (owner) await page.locator("html[data-session=owner]").waitFor({ state: "attached" });
  for (const width of widths) {
    await page.setViewportSize({ width, height: 740 });
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      if (name !== "an image that is gone") await settle(page);
      await expectAccessible(page);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
  }
  expect(complaints).toEqual([]);
  await page.context().close();
});
