// The daemon's own status page, which its admin listener serves.

import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Daemon, token } from "../node/daemon";
import { expectAccessible } from "./accessible";
import { openBrowser, openPage, photo, screenshot } from "./site";

let daemon: Daemon;
let browser: Browser;
let admin: string;

beforeAll(async () => {
  browser = await openBrowser();
  daemon = await Daemon.prepare();
  admin = `127.0.0.1:${await freePort()}`;
  daemon.settings = { "admin.listen": admin };
  await daemon.start();
});

afterAll(async () => {
  await browser?.close();
  await daemon?.dispose();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function upload(filename: string, body: Uint8Array<ArrayBuffer>): Promise<number> {
  const headers = { Authorization: `Bearer ${token}`, Prefer: "wait=90" };
  const url = `${daemon.url}/v1/images?filename=${encodeURIComponent(filename)}`;
  return (await fetch(url, { method: "POST", headers, body })).status;
}

test("the status page shows what the daemon did, on every screen, and notices its end", async () => {
  const bytes = new Uint8Array(await readFile(photo("test_square.jpg")));
  const odd = "<b>cat.jpg";
  expect(await upload(odd, bytes)).toBe(201);
  expect(await upload("cut.jpg", bytes.slice(0, 5000))).toBe(422);
  const { page, complaints } = await openPage(browser, { viewport: { width: 320, height: 740 } }, /favicon|REFUSED/);
  await page.goto(`http://${admin}/`);
  await page.getByText("ready", { exact: true }).waitFor();
  await page.getByText(/^corrupt_image: /).waitFor();
  // A name is text, whatever is in it.
  await page.getByText(odd, { exact: true }).waitFor();
  const thumbnail = page.locator("#jobs img");
  await expect.poll(() => thumbnail.evaluate((img) => (img as HTMLImageElement).naturalWidth)).toBeGreaterThan(0);
  await page.getByRole("img", { name: "Images per minute" }).waitFor();
  for (const width of [320, 360, 768, 1440]) {
    await page.setViewportSize({ width, height: 740 });
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      await expectAccessible(page);
      await screenshot(page, `status-${width}-${colorScheme}`);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
  }
  // By itself.
  await upload("new.jpg", new Uint8Array([...bytes, 1]));
  await page.getByText("new.jpg", { exact: true }).waitFor();
  await page.getByText(/^\d+: idle for .*; \d+ images? done, \d+ MB in memory$/).waitFor();
  await daemon.stop();
  await page.getByText(/^no answer from the daemon/).waitFor();
  expect(complaints).toEqual([]);
  await page.context().close();
});
