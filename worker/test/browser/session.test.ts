// A session that ends while the owner works: the page asks to sign in again, and then does
// what was asked of it.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Image } from "../../src/api";
import { expectAccessible } from "./accessible";
import { Site, choose, openBrowser, openPage, ownerToken, settle } from "./site";

let site: Site;
let browser: Browser;
let cat: Image;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  cat = await site.seed("test_square.jpg", "cat.jpg");
  await site.seed("test.webp", "tree.webp");
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

async function open(path: string): Promise<{ page: Page; complaints: string[] }> {
  const opened = await openPage(browser, { viewport: { width: 360, height: 740 } }, /401/);
  await site.admit(opened.page);
  await opened.page.goto(site.url + path);
  await opened.page.locator("html[data-session=owner]").waitFor();
  await settle(opened.page);
  return opened;
}

const endSession = (page: Page) => page.context().clearCookies();
const asked = (page: Page) => page.locator("#sign-in-why").getByText("You are signed out. Sign in to continue.");

async function signInAgain(page: Page): Promise<void> {
  await asked(page).waitFor();
  await page.getByLabel("Token").fill(ownerToken);
  await page.keyboard.press("Enter");
  await page.locator("#sign-in").waitFor({ state: "hidden" });
}

/** What the owner begins, and how it ends after the session has ended and begun again. */
const works: Record<string, { path?: string; begin(page: Page): Promise<void>; ends(page: Page): Promise<unknown> }> = {
  "describing an image": {
    path: "/p/cat",
    begin: async (page) => {
      await page.getByRole("button", { name: "Describe" }).click();
      await page.getByLabel("Title").fill("Mitzi");
      await endSession(page);
      await page.getByRole("button", { name: "Save" }).click();
    },
    ends: (page) => page.locator("#caption").getByText("Mitzi").waitFor(),
  },
  "inviting somebody": {
    begin: async (page) => {
      await choose(page, "Invite others to add images");
      await page.getByLabel("Name, for your list").fill("Mia's phone");
      await endSession(page);
      await page.getByRole("button", { name: "Create invite" }).click();
    },
    ends: (page) => page.getByText("Mia's phone, until").waitFor(),
  },
  "selecting and deleting": {
    begin: async (page) => {
      await choose(page, "Select images");
      for (const box of await page.getByRole("checkbox").all()) await box.click();
      await page.locator("#select-delete").click();
      await endSession(page);
      await page.locator("#confirm-delete").click();
    },
    ends: (page) => page.locator("#undo-text").getByText("2 images deleted.").waitFor(),
  },
  "looking at what is deleted": {
    begin: async (page) => {
      await endSession(page);
      await choose(page, "Deleted images");
    },
    ends: async (page) => {
      for (let left = 2; left > 0; left--) {
        await page
          .getByRole("button", { name: /^Restore: / })
          .nth(left - 1)
          .click();
        await expect.poll(() => page.locator("#trash-rows li").count()).toBe(left - 1);
      }
    },
  },
  "taking a deletion back": {
    path: "/p/cat",
    begin: async (page) => {
      await page.locator("#lightbox-delete").click();
      await page.locator("#confirm-delete").click();
      await page.locator("#undo-text").getByText("1 image deleted.").waitFor();
      await endSession(page);
      await page.getByRole("button", { name: "Undo" }).click();
    },
    ends: (page) => page.locator("#undo").waitFor({ state: "hidden" }),
  },
  "remaking all images": {
    begin: async (page) => {
      await endSession(page);
      await choose(page, "Remake all images");
    },
    ends: async (page) => {
      await page.getByRole("button", { name: "Menu" }).click();
      await page.getByText("Remade: 0. Unchanged: 2.").waitFor();
    },
  },
};

test.each(Object.keys(works))("goes on after signing in: %s", async (name) => {
  const { path = "/", begin, ends } = works[name] as (typeof works)[string];
  const { page, complaints } = await open(path.replace("cat", cat.id));
  await begin(page);
  await signInAgain(page);
  await ends(page);
  expect(complaints).toEqual([]);
  await page.context().close();
});

test("who does not sign in keeps what was typed, and can do it later", async () => {
  const { page, complaints } = await open(`/p/${cat.id}`);
  await page.getByRole("button", { name: "Describe" }).click();
  await page.getByLabel("Caption").fill("On the sofa again.");
  await endSession(page);
  await page.getByRole("button", { name: "Save" }).click();
  await asked(page).waitFor();
  await settle(page);
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await page.locator("#words-error").getByText("You are signed out. Sign in to continue.").waitFor();
  expect(await page.getByLabel("Caption").inputValue()).toBe("On the sofa again.");
  await page.getByRole("button", { name: "Save" }).click();
  await signInAgain(page);
  await page.locator("#caption-text").getByText("On the sofa again.").waitFor();
  expect(complaints).toEqual([]);
  await page.context().close();
});
