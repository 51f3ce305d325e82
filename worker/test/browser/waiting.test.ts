// Uploads that wait: files that are gone meanwhile, and two tabs that have the same list.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Site, openBrowser, openPage, photo, settle } from "./site";

let site: Site;
let browser: Browser;
let folder: string;

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  folder = await mkdtemp(join(tmpdir(), "optimizerd-browser-"));
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
  if (folder) await rm(folder, { recursive: true, force: true });
});

async function openAsOwner(provoked?: RegExp): Promise<{ page: Page; complaints: string[] }> {
  const opened = await openPage(browser, { viewport: { width: 1280, height: 800 } }, provoked);
  await site.admit(opened.page);
  await opened.page.goto(site.url);
  await settle(opened.page);
  return opened;
}

const row = (page: Page, name: string) => page.locator("#tray-rows li").filter({ hasText: name });

test("files that are gone from the disk before they are sent are refused in plain words, and the rest goes on", async () => {
  const { page, complaints } = await openAsOwner(/ERR_/);
  const bytes = await readFile(photo("test_square.jpg"));
  const write = async (name: string, size = 0) => {
    const path = join(folder, name);
    await writeFile(path, Buffer.concat([bytes, Buffer.from(name), Buffer.alloc(size)]));
    return path;
  };
  const [last, gone, goneLarge, first] = [
    await write("last.jpg"),
    await write("gone.jpg"),
    await write("gone large.jpg", 8 << 20),
    await write("first.jpg"),
  ];
  // While the first is sent.
  await page.route("**/api/images?filename=first.jpg", async (route) => {
    await rm(gone);
    await rm(goneLarge);
    await route.continue();
  });
  await page.locator("#files").setInputFiles([last, gone, goneLarge, first]);
  await row(page, "last.jpg").getByText("Added").waitFor();
  for (const name of ["gone.jpg", "gone large.jpg"]) {
    await row(page, name).getByText("This file cannot be read any more").waitFor();
  }
  await page.getByText("2 added, 2 failed").waitFor();
  expect(await page.getByRole("button", { name: /Try again/ }).count()).toBe(0);
  expect(complaints).toEqual([]);
  await page.context().close();
});

test("what one tab sends no other sends too, until that is closed", async () => {
  const { page, complaints } = await openAsOwner();
  const sent: string[] = [];
  await page.context().route("**/api/images?filename=*", (route) => {
    sent.push(new URL(route.request().url()).searchParams.get("filename") ?? "");
    // The first tab never gets an answer.
    return sent.length > 1 ? route.continue() : undefined;
  });
  const bytes = await readFile(photo("test_square.jpg"));
  const files = ["later", "first"].map((name) => ({
    name: `two tabs ${name}.jpg`,
    mimeType: "image/jpeg",
    buffer: Buffer.concat([bytes, Buffer.from(`two tabs ${name}`)]),
  }));
  await page.locator("#files").setInputFiles(files);
  await row(page, "first.jpg").getByText("Sending").waitFor();
  await expect.poll(() => sent).toEqual(["two tabs first.jpg"]);
  const kept = () =>
    page.evaluate(async () => {
      const database = await new Promise<IDBDatabase>((resolve) => {
        const request = indexedDB.open("gallery");
        request.onsuccess = () => resolve(request.result);
      });
      return new Promise((resolve) => {
        const request = database.transaction("uploads").objectStore("uploads").count();
        request.onsuccess = () => resolve(request.result);
      }).finally(() => database.close());
    });
  await expect.poll(kept).toBe(2);

  const other = await page.context().newPage();
  await other.goto(site.url);
  await settle(other);
  const buffer = Buffer.concat([bytes, Buffer.from("two tabs other")]);
  await other.locator("#files").setInputFiles({ name: "two tabs other.jpg", mimeType: "image/jpeg", buffer });
  await row(other, "other.jpg").getByText("Added").waitFor();
  expect(sent).toEqual(["two tabs first.jpg", "two tabs other.jpg"]);

  await page.close();
  await row(other, "later.jpg").getByText("Added").waitFor();
  expect(sent.slice(2)).toEqual(["two tabs first.jpg", "two tabs later.jpg"]);
  await other.getByText("3 added").waitFor();
  expect(complaints).toEqual([]);
  await other.context().close();
});
