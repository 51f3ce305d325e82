// Searching in the page: by keyboard, by address, with a slow connection, in an album.

import type { Browser, BrowserContextOptions, Page, Route } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Words } from "../../src/api";
import { expectAccessible } from "./accessible";
import { expectNoShifts, watchShifts } from "./shifts";
import { Site, type Watched, choose, openBrowser, openPage, ownerToken, photo, screenshot, settle } from "./site";

let site: Site;
let browser: Browser;
let watched: Watched[] = [];

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  const described: [string, Partial<Words>][] = [
    ["test_square.jpg", { title: "Mitzi", alt: "A black cat", tags: ["cats", "at home"] }],
    ["test.webp", { title: "Café crème", alt: "A cup of coffee", tags: ["at home"] }],
    ["test_smart_crop.jpg", { title: "Tiles", alt: "Black and white tiles" }],
    ["vertical.jpg", { alt: "Milky way", caption: "A clear night in the mountains" }],
  ];
  const headers = { Authorization: `Bearer ${ownerToken}` };
  for (const [name, words] of described) {
    const { id } = await site.seed(name, "IMG_1.jpg");
    await fetch(`${site.url}/api/images/${id}`, { method: "PATCH", headers, body: JSON.stringify(words) });
  }
  // The first request begins the index.
  while (!(await fetch(`${site.url}/api/images?q=black`)).ok);
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

afterEach(async () => {
  const complaints = watched.flatMap((page) => page.complaints);
  for (const { page } of watched) await page.context().close();
  watched = [];
  expect(complaints).toEqual([]);
});

type Options = BrowserContextOptions & { provoked?: RegExp; isOwner?: boolean };

async function open(path: string, { provoked, isOwner, ...context }: Options = {}): Promise<Page> {
  const opened = await openPage(browser, { viewport: { width: 1280, height: 800 }, ...context }, provoked);
  watched.push(opened);
  const { page } = opened;
  if (isOwner) await site.admit(page);
  await page.goto(site.url + path);
  if (isOwner) await page.locator("html[data-session=owner]").waitFor({ state: "attached" });
  await settle(page);
  return page;
}

/** The titles of the images that are shown, newest first. */
const shown = (page: Page) =>
  page.locator(".card:visible img").evaluateAll((imgs) => imgs.map((img) => img.getAttribute("alt")));
const all = ["Milky way", "Black and white tiles", "A cup of coffee", "A black cat"];
const field = (page: Page) => page.getByRole("search").getByRole("searchbox", { name: "Search images" });
const nothing = (page: Page, text: string) => page.locator("#none").getByText(text);
const announced = (page: Page) => page.locator("#announcer").textContent();
const address = (page: Page) => page.url().slice(site.url.length);

test("by keyboard alone: search, look, go back, clear", async () => {
  const page = await open("/");
  const { keyboard } = page;
  await watchShifts(page);
  expect(await shown(page)).toEqual(all);
  await keyboard.press("/");
  await keyboard.type("black");
  await expect.poll(() => shown(page)).toEqual(["Black and white tiles", "A black cat"]);
  expect(await announced(page)).toBe("2 images found.");
  expect(address(page)).toBe("/?q=black");
  await keyboard.type(" CAT");
  await expect.poll(() => shown(page)).toEqual(["A black cat"]);
  expect(await announced(page)).toBe("1 image found.");
  // A slash in the field is one.
  await keyboard.type("/");
  expect(await field(page).inputValue()).toBe("black CAT/");

  // What is found is opened, and left to the search.
  await keyboard.press("Enter");
  while (!(await page.evaluate(() => document.activeElement?.matches(".card a")))) await keyboard.press("Tab");
  await keyboard.press("Enter");
  await page.getByText("1 of 1").waitFor();
  await keyboard.press("/");
  await keyboard.press("Escape");
  await page.locator("#lightbox").waitFor({ state: "hidden" });
  await expect.poll(() => address(page)).toBe("/?q=black+CAT%2F");
  expect(await shown(page)).toEqual(["A black cat"]);

  await keyboard.press("/");
  await keyboard.press("Escape");
  await expect.poll(() => shown(page)).toEqual(all);
  expect([address(page), await field(page).inputValue()]).toEqual(["/", ""]);
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("q");
  await keyboard.press("Escape");
  expect(await page.evaluate(() => document.activeElement?.id)).not.toBe("q");
});

test("the address has the search: it is shared, and the back button leaves it", async () => {
  const page = await open("/?q=cafe");
  expect(await shown(page)).toEqual(["A cup of coffee"]);
  expect(await field(page).inputValue()).toBe("cafe");
  await field(page).fill("mountains");
  await expect.poll(() => shown(page)).toEqual(["Milky way"]);
  await page.reload();
  await settle(page);
  expect(await shown(page)).toEqual(["Milky way"]);

  await page.goto(`${site.url}/`);
  await settle(page);
  await field(page).fill("bla");
  await expect.poll(() => shown(page)).toHaveLength(2);
  await field(page).fill("blac");
  await field(page).press("Enter");
  await expect.poll(() => address(page)).toBe("/?q=blac");
  // Typing in between is no step of its own.
  await page.goBack();
  await expect.poll(() => shown(page)).toEqual(all);
  expect([address(page), await field(page).inputValue()]).toEqual(["/", ""]);
  await page.goForward();
  await expect.poll(() => shown(page)).toHaveLength(2);
  expect(await field(page).inputValue()).toBe("blac");
});

test("nothing found: it says for what, and how to go on", async () => {
  const page = await open("/");
  await field(page).fill("dinosaur");
  await nothing(page, "Nothing was found for “dinosaur”.").waitFor();
  expect(await announced(page)).toBe("Nothing was found for “dinosaur”.");
  expect(await shown(page)).toEqual([]);
  expect(await page.getByText("There are no images yet.").isVisible()).toBe(false);
  await page.getByRole("button", { name: "Clear the search" }).click();
  await expect.poll(() => shown(page)).toEqual(all);
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("q");
});

test("in an album only its images are found", async () => {
  const page = await open("/t/at%20home?q=black");
  expect(await shown(page)).toEqual(["A black cat"]);
  await field(page).fill("tiles");
  await nothing(page, "Nothing was found for “tiles” among images tagged “at home”.").waitFor();
  expect(address(page)).toBe("/t/at%20home?q=tiles");
  await field(page).press("Escape");
  await expect.poll(() => shown(page)).toEqual(["A cup of coffee", "A black cat"]);
  expect(address(page)).toBe("/t/at%20home");
});

test("a response that is late is ignored, and typing asks once", async () => {
  const page = await open("/");
  const asked: string[] = [];
  let late: Route | undefined;
  await page.route("**/api/images?*", (route) => {
    const q = new URL(route.request().url()).searchParams.get("q") ?? "";
    asked.push(q);
    if (q === "black") late = route;
    else return route.continue();
    return Promise.resolve();
  });
  await field(page).pressSequentially("black");
  await expect.poll(() => asked).toEqual(["black"]);
  await field(page).fill("cafe");
  await expect.poll(() => shown(page)).toEqual(["A cup of coffee"]);
  const answered = page.waitForResponse(/q=black/);
  await late?.continue();
  await (await answered).finished();
  // After whatever the page does with it.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  expect(await shown(page)).toEqual(["A cup of coffee"]);
  expect(asked).toEqual(["black", "cafe"]);
});

test("a response that is late leaves the focus on an image that stays", async () => {
  const page = await open("/?q=black");
  let late: Route | undefined;
  await page.route("**/api/images?*", (route) => {
    late = route;
  });
  await field(page).fill("cat");
  await expect.poll(() => late).toBeDefined();
  const cat = page.locator(".card a", { has: page.getByAltText("A black cat") });
  await cat.focus();
  await late?.continue();
  await expect.poll(() => shown(page)).toEqual(["A black cat"]);
  expect(await cat.evaluate((link) => link === document.activeElement)).toBe(true);
});

test("a search that fails shows nothing of the one before, and can be tried again", async () => {
  const page = await open("/?q=cafe", { provoked: /503|400/ });
  await page.route("**/api/images?*", (route) =>
    route.fulfill({ status: 503, json: { code: "index_incomplete", detail: "The index is not complete yet." } }),
  );
  await field(page).fill("black");
  await page.getByText("The index is not complete yet.").waitFor();
  expect(await shown(page)).toEqual([]);
  await page.unroute("**/api/images?*");
  await page.getByRole("button", { name: "Try again" }).click();
  await expect.poll(() => shown(page)).toHaveLength(2);
  await field(page).fill("a b c d e f g h i j k");
  await page.getByText("at most 100 characters and 10 words").waitFor();
});

test("the owner deletes, restores and adds while searching, and sees what belongs there", async () => {
  const page = await open("/?q=black", { isOwner: true });
  await choose(page, "Select images");
  await page.getByLabel("Select Mitzi").check();
  await page.locator("#select-delete").click();
  await page.locator("#confirm-delete").click();
  await expect.poll(() => shown(page)).toEqual(["Black and white tiles"]);
  await page.getByRole("button", { name: "Undo" }).click();
  await expect.poll(() => shown(page)).toEqual(["Black and white tiles", "A black cat"]);

  await page.locator("#files").setInputFiles([photo("test.jpg")]);
  await page.getByText("1 added").waitFor();
  expect(await shown(page)).toEqual(["Black and white tiles", "A black cat"]);
  await field(page).fill("");
  await expect.poll(() => shown(page)).toEqual(["test", ...all]);
  // Selecting ends with the list that was selected from.
  await choose(page, "Select images");
  await page.keyboard.press("/");
  await page.keyboard.type("tiles");
  await expect.poll(() => shown(page)).toEqual(["Black and white tiles"]);
  expect(await page.locator("#select-bar").isVisible()).toBe(false);
});

test("what is typed while the script is on its way is searched for", async () => {
  const page = await open("/");
  let script: Route | undefined;
  await page.route("**/app.js", (route) => {
    script = route;
  });
  await page.goto(site.url, { waitUntil: "commit" });
  await field(page).pressSequentially("mount");
  await expect.poll(() => script).toBeDefined();
  await script?.continue();
  await expect.poll(() => shown(page)).toEqual(["Milky way"]);
  expect([address(page), await field(page).inputValue()]).toEqual(["/?q=mount", "mount"]);
});

test("the Delete key in the field deletes text", async () => {
  const page = await open("/?q=black", { isOwner: true });
  await choose(page, "Select images");
  await page.getByLabel("Select Mitzi").check();
  await page.keyboard.press("/");
  await page.keyboard.press("Delete");
  expect(await page.locator("dialog[open]").count()).toBe(0);
  await expect.poll(() => field(page).inputValue()).toBe("");
});

test("a search for nothing that could be found stays empty", async () => {
  const page = await open("/?q=...", { isOwner: true });
  await nothing(page, "Nothing was found for “...”.").waitFor();
  await page.locator("#files").setInputFiles([photo("test.jpg")]);
  await page.getByText("1 added").waitFor();
  expect(await shown(page)).toEqual([]);
  expect(await nothing(page, "Nothing was found for “...”.").isVisible()).toBe(true);
});

test("a guest's new image is found, even though the browser has this search already", async () => {
  const page = await open("/");
  const invite = await fetch(`${site.url}/api/invites`, {
    method: "POST",
    headers: { Authorization: `Bearer ${ownerToken}` },
    body: JSON.stringify({ name: "Mia", days: 1 }),
  });
  const { url } = (await invite.json()) as { url: string };
  await page.goto(`${site.url}/?again${new URL(url).hash}`);
  await page.getByText("You can now add images here.").waitFor();
  await field(page).fill("milky");
  await expect.poll(() => shown(page)).toEqual(["Milky way"]);
  await field(page).fill("");
  await expect.poll(() => shown(page)).not.toHaveLength(1);
  const { id } = await site.seed("vertical.jpg");
  const buffer = await (await fetch(`${site.url}/images/${id}?w=320&f=jpeg`)).arrayBuffer();
  const file = { name: "milky coffee.jpg", mimeType: "image/jpeg", buffer: Buffer.from(buffer) };
  await page.locator("#files").setInputFiles([file]);
  await page.getByText("1 added").waitFor();
  await field(page).fill("milky");
  await expect.poll(() => shown(page)).toEqual(["milky coffee", "Milky way"]);
});

test("it looks like this, is accessible, and nothing moves by itself", async () => {
  for (const width of [320, 360, 768, 1440]) {
    for (const colorScheme of ["light", "dark"] as const) {
      const page = await open("/?q=black", { viewport: { width, height: 740 }, colorScheme });
      await screenshot(page, `search-${width}-${colorScheme}`);
      await expectAccessible(page);
      await field(page).fill("dinosaur");
      await nothing(page, "Nothing was found for “dinosaur”.").waitFor();
      await settle(page);
      await screenshot(page, `search-nothing-${width}-${colorScheme}`);
      await expectAccessible(page);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      await watchShifts(page);
      await page.goto(`${site.url}/t/at%20home?q=cup`);
      await settle(page);
      await screenshot(page, `search-album-${width}-${colorScheme}`);
      await expectNoShifts(page);
    }
  }
});
