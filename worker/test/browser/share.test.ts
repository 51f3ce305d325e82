// The gallery as an app on a phone, which receives what other apps share.

import { readFile } from "node:fs/promises";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectAccessible } from "./accessible";
import { Site, openBrowser, openPage, ownerToken, photo, screenshot, settle } from "./site";

const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

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

/** The owner's page in a tab of the browser, with the service worker. */
async function inTab(options: BrowserContextOptions = {}, provoked?: RegExp) {
  const opened = await openPage(browser, { ...phone, ...options }, provoked);
  await site.admit(opened.page);
  await opened.page.goto(site.url);
  await expect.poll(() => registrations(opened.page)).toEqual([`activated ${site.url}/share`]);
  return opened;
}

/** The same in the window of the installed gallery, as far as pages can see. */
async function installed(options: BrowserContextOptions = {}, provoked?: RegExp) {
  const opened = await inTab(options, provoked);
  await standAlone(opened.page);
  return opened;
}

/** From the next address on. */
async function standAlone(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const { matchMedia } = window;
    window.matchMedia = (query) => {
      const list = matchMedia.call(window, query);
      return query === "(display-mode: standalone)" ? ({ ...list, matches: true } as MediaQueryList) : list;
    };
  });
}

const registrations = (page: Page) =>
  page.evaluate(async () => {
    const all = await navigator.serviceWorker.getRegistrations();
    return all.map(({ active, scope }) => `${active?.state} ${scope}`);
  });

interface Shared {
  name: string;
  mimeType: string;
  buffer: Buffer;
}

/** An image of its own: the daemon knows the photo with other bytes behind it as another. */
async function image(name: string): Promise<Shared> {
  const buffer = Buffer.concat([await readFile(photo("test_square.jpg")), Buffer.from(name)]);
  return { name, mimeType: "image/jpeg", buffer };
}

/** Shares files as Android does: the browser opens the app with a form that no page has sent. */
async function share(page: Page, files: Shared[]): Promise<void> {
  await page.goto("about:blank");
  await page.setContent(
    `<form method="post" enctype="multipart/form-data" action="${site.url}/share">
     <input type="file" name="images" multiple><button>Share</button></form>`,
  );
  await page.locator("input").setInputFiles(files);
  await page.getByRole("button", { name: "Share" }).click();
  await page.waitForURL(`${site.url}/`);
}

const row = (page: Page, name: string) => page.locator("#tray-rows li").filter({ hasText: name });
const rows = (page: Page) => page.locator("#tray-rows .name").allTextContents();

test("the gallery can be installed, under its name, and says what it receives", async () => {
  const { page, complaints } = await installed();
  const network = await page.context().newCDPSession(page);
  const { url, errors, data, manifest } = await network.send("Page.getAppManifest");
  expect([url, errors]).toEqual([`${site.url}/manifest.webmanifest`, []]);
  const { name, icons, share_target } = JSON.parse(data ?? "") as {
    name: string;
    icons: { src: string; sizes: string; type: string }[];
    share_target: { params: { files: { accept: string[] }[] } };
  };
  expect([name, manifest.name]).toEqual(["Gallery", "Gallery"]);
  expect(share_target).toMatchObject({ action: "/share", method: "POST", enctype: "multipart/form-data" });
  expect(share_target.params.files[0]?.accept).toEqual(["image/*"]);
  for (const { src, sizes, type } of icons) {
    const size = await page.evaluate(async (src) => {
      const img = new Image();
      img.src = src;
      await img.decode();
      return `${img.naturalWidth}x${img.naturalHeight}`;
    }, src);
    if (sizes !== "any") expect(size).toBe(sizes);
    expect((await fetch(site.url + src)).headers.get("Content-Type")).toBe(type);
  }
  const { installabilityErrors } = await network.send("Page.getInstallabilityErrors");
  // Tests have windows without a history of their own.
  expect(installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito")).toEqual([]);
  expect(complaints).toEqual([]);
  await page.context().close();
});

test("shared photos are uploaded through the page's list, each once", async () => {
  const { page, complaints } = await installed();
  await share(page, [
    await image("one.jpg"),
    await image("two.jpg"),
    { name: "drawing.svg", mimeType: "image/svg+xml", buffer: Buffer.from("<svg/>") },
  ]);
  await page.getByText("2 added, 1 failed").waitFor();
  expect(await rows(page)).toEqual(["one.jpg", "two.jpg", "drawing.svg"]);
  await row(page, "drawing.svg").getByText("SVG is not supported.").waitFor();
  await settle(page);
  expect(await page.locator(".card:visible").count()).toBe(2);
  await expectAccessible(page);
  await screenshot(page, "phone-shared");
  // The service worker has no part in the page, and keeps nothing of it.
  expect(await page.evaluate(() => navigator.serviceWorker.controller)).toBe(null);
  expect(await page.evaluate(() => caches.keys())).toEqual([]);
  await page.reload();
  await settle(page);
  expect(await page.locator("#tray").isVisible()).toBe(false);
  expect(complaints).toEqual([]);
  await page.context().close();
});

test("what another site sends is not added, unless the owner wants that", async () => {
  const { page, complaints } = await inTab();
  // This is how any page can send it.
  await share(page, [await image("sent by a site.jpg"), await image("another.jpg")]);
  await row(page, "sent by a site.jpg").getByText("Another app or site has sent this.").waitFor();
  await settle(page);
  await expectAccessible(page);
  await screenshot(page, "phone-offered");
  await page.locator("#files").setInputFiles(await image("mine.jpg"));
  await row(page, "mine.jpg").getByText("Added").waitFor();
  expect(await row(page, "sent by a site.jpg").textContent()).toContain("Add it if that was you.");

  // Nor does the installed gallery add it later.
  await standAlone(page);
  await page.reload();
  await row(page, "another.jpg").getByText("Another app or site has sent this.").waitFor();
  await page.getByRole("button", { name: "Add: sent by a site.jpg" }).click();
  await row(page, "sent by a site.jpg").getByText("Added").waitFor();
  await page.getByRole("button", { name: "Close the uploads" }).click();
  await page.reload();
  await settle(page);
  expect(await page.locator("#tray").isVisible()).toBe(false);
  expect(await page.getByAltText("another").count()).toBe(0);
  expect(complaints).toEqual([]);
  await page.context().close();
});

test("without a session a shared photo waits until its owner has signed in", async () => {
  const { page, complaints } = await installed({}, /401/);
  await page.context().clearCookies();
  await share(page, [await image("later.jpg")]);
  await page.getByText("Sign in to add what you shared.").waitFor();
  await row(page, "later.jpg").waitFor();
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  // Nor is it lost when the app is closed.
  await page.reload();
  await row(page, "later.jpg").getByText("Waiting").waitFor();
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByLabel("Token").fill(ownerToken);
  await page.keyboard.press("Enter");
  await row(page, "later.jpg").getByText("Added").waitFor();
  expect(complaints).toEqual([]);
  await page.context().close();
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`what cannot be kept is said, in the ${colorScheme}`, async () => {
    for (const width of [320, 360, 768, 1440]) {
      const { page, complaints } = await installed({ viewport: { width, height: 740 }, colorScheme });
      const storage = await page.context().newCDPSession(page);
      await storage.send("Storage.overrideQuotaForOrigin", { origin: site.url, quotaSize: 1 });
      await share(page, [await image("lost.jpg")]);
      await page.getByText("Some or all of what you shared did not arrive. Share it again.").waitFor();
      await settle(page);
      await screenshot(page, `not-shared-${width}-${colorScheme}`);
      await expectAccessible(page);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      expect(complaints).toEqual([]);
      await page.context().close();
    }
  });
}

test("a browser that has lost the service worker says so, and has it again", async () => {
  const { page, complaints } = await installed();
  await page.evaluate(async () => {
    for (const registration of await navigator.serviceWorker.getRegistrations()) await registration.unregister();
  });
  await share(page, [await image("lost.jpg")]);
  await page.getByText("Some or all of what you shared did not arrive. Share it again.").waitFor();
  await expect.poll(() => registrations(page)).toEqual([`activated ${site.url}/share`]);
  await share(page, [await image("found.jpg")]);
  await row(page, "found.jpg").getByText("Added").waitFor();
  expect(complaints).toEqual([]);
  await page.context().close();
});
