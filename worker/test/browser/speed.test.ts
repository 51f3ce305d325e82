// When the largest image is painted, and what moves until then (LCP and CLS, as browsers
// measure them). The times are printed, and nothing depends on them.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { watchShifts } from "./shifts";
import { Site, openBrowser, openPage, settle } from "./site";

/** One proves that nothing moves; ROUNDS=5 has medians worth writing down. */
const rounds = Number(process.env.ROUNDS ?? 1);
const screens = {
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 3, hasTouch: true, isMobile: true },
  desktop: { viewport: { width: 1440, height: 900 } },
};
/** Slow 4G on a phone of the middle class, as Lighthouse has them. */
const slow = { latency: 150, downloadThroughput: 1.6e6 / 8, uploadThroughput: 750e3 / 8 };
const slowCPU = 4;

let site: Site;
let browser: Browser;

declare global {
  interface Window {
    largest: number;
  }
}

beforeAll(async () => {
  browser = await openBrowser();
  site = await Site.start();
  const names = ["test_exif.jpg", "vertical.jpg", "test_smart_crop.jpg", "test_square.jpg", "test.webp", "test.jpg"];
  for (const name of [...names, "test.heic", "test2.heic"]) await site.seed(name, `test of ${name}`);
  while (!(await fetch(`${site.url}/api/images?q=test`)).ok);
});

afterAll(async () => {
  await browser?.close();
  await site?.dispose();
});

/** Opens a page with nothing in its cache, and returns when its largest image was painted, in ms. */
async function largest(path: string, screen: keyof typeof screens, isSlow: boolean): Promise<number> {
  const { page, complaints } = await openPage(browser, screens[screen]);
  if (isSlow) {
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Network.enable");
    await devtools.send("Network.emulateNetworkConditions", { offline: false, ...slow });
    await devtools.send("Emulation.setCPUThrottlingRate", { rate: slowCPU });
  }
  await watchShifts(page);
  await page.addInitScript(() => {
    new PerformanceObserver((list) => {
      window.largest = list.getEntries().at(-1)?.startTime ?? 0;
    }).observe({ type: "largest-contentful-paint", buffered: true });
  });
  await page.goto(site.url + path);
  await settle(page);
  // Entries are delivered with a frame's end.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const [time, shifts] = await page.evaluate(() => [window.largest, window.shifts] as const);
  expect([path, screen, shifts]).toEqual([path, screen, []]);
  expect(complaints).toEqual([]);
  await page.context().close();
  return time;
}

test.each(["/", "/?q=test"])("%s shows its largest image, and nothing has moved", async (path) => {
  for (const screen of ["phone", "desktop"] as const) {
    for (const isSlow of [false, true]) {
      const times: number[] = [];
      for (let round = 0; round < rounds; round++) times.push(await largest(path, screen, isSlow));
      times.sort((a, b) => a - b);
      const [least, median] = [times[0] ?? 0, times[Math.floor(rounds / 2)] ?? 0].map(Math.round);
      const how = isSlow ? "slow 4G, CPU at a quarter" : "no limits";
      console.log(`${path} on a ${screen}, ${how}: LCP ${median} ms (fastest ${least}), CLS 0`);
    }
  }
});
