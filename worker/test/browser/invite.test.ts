// An invite, from the owner's desktop to a phone that adds images.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectAccessible } from "./accessible";
import { Site, type Watched, choose, openBrowser, openPage, photo, screenshot, settle, signIn } from "./site";

const phone = { viewport: { width: 320, height: 640 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const desktop = { viewport: { width: 1440, height: 900 } };

let site: Site;
let browser: Browser;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  await site.seed("test_square.jpg", "cat.jpg");
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

/** The link of a new invite, made in the page. */
async function invite({ page }: Watched, name: string): Promise<string> {
  await choose(page, "Invite others to add images");
  await page.getByLabel("Name, for your list").fill(name);
  await page.getByRole("button", { name: "Create invite" }).click();
  await page.getByText(`${name}, until`).waitFor();
  return page.locator("#invite-link").inputValue();
}

test("the owner invites a phone; it adds, and cannot delete; revoked, it is a stranger again", async () => {
  const owner = await openPage(browser, { ...desktop, permissions: ["clipboard-read", "clipboard-write"] }, /401/);
  await owner.page.goto(site.url);
  await signIn(owner.page);
  const link = await invite(owner, "Mia's phone");
  const qr = owner.page.getByAltText("The link as a QR code");
  await expect.poll(() => qr.evaluate((img) => (img as HTMLImageElement).naturalWidth)).toBeGreaterThan(100);
  await owner.page.getByRole("button", { name: "Copy link" }).click();
  await owner.page.getByText("Link copied.").waitFor();
  expect(await owner.page.evaluate(() => navigator.clipboard.readText())).toBe(link);

  const guest = await openPage(browser, phone, /401/);
  await guest.page.goto(link);
  await guest.page.getByText("You can now add images here.").waitFor();
  expect(guest.page.url()).toBe(`${site.url}/`);
  await settle(guest.page);
  await guest.page.locator("#files").setInputFiles(photo("test.webp"));
  await guest.page.getByText("1 added").waitFor();
  await settle(guest.page);
  expect(await guest.page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
  expect(await guest.page.getByRole("button", { name: /^(Delete|Describe|Remake|Invite)/ }).count()).toBe(0);
  await expectAccessible(guest.page);
  await screenshot(guest.page, "invited-320");
  await guest.page.getByRole("button", { name: "Close the uploads" }).click();
  await guest.page.locator(".card a").first().tap();
  await guest.page.getByRole("button", { name: "Copy link" }).waitFor();
  expect(await guest.page.getByRole("button", { name: /^(Delete|Describe)/ }).count()).toBe(0);
  await guest.page.getByRole("button", { name: "Close" }).click();

  await owner.page.getByRole("button", { name: "Revoke: Mia's phone" }).click();
  await owner.page.getByText("Mia's phone, until").waitFor({ state: "detached" });
  await guest.page.reload();
  await guest.page.getByRole("button", { name: "Sign in" }).waitFor();
  expect(await guest.page.getByLabel("Add images").isVisible()).toBe(false);
  await guest.page.goto(link.replace("/#", "/?again#"));
  await guest.page.getByText("This invite has expired or was revoked. Ask for another.").waitFor();
  expect([...owner.complaints, ...guest.complaints]).toEqual([]);
  for (const { page } of [owner, guest]) await page.context().close();
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`the owner's list of invites is accessible in the ${colorScheme}`, async () => {
    for (const width of [320, 360, 768, 1440]) {
      const owner = await openPage(browser, { viewport: { width, height: 800 }, colorScheme }, /401/);
      await owner.page.goto(site.url);
      await signIn(owner.page);
      await invite(owner, `${colorScheme} ${width}`);
      await settle(owner.page);
      expect(await owner.page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      await expectAccessible(owner.page);
      await screenshot(owner.page, `invites-${width}-${colorScheme}`);
      expect(owner.complaints).toEqual([]);
      await owner.page.context().close();
    }
  });
}
