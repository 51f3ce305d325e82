// Whether anything on a page moves by itself.

import type { Page } from "playwright-core";
import { expect } from "vitest";

declare global {
  interface Window {
    shifts: string[];
  }
}

/** Has the pages opened from now on record what moves. */
export async function watchShifts(page: Page): Promise<void> {
  await page.addInitScript(() => {
    window.shifts = [];
    new PerformanceObserver((list) =>
      window.shifts.push(...list.getEntries().map((entry) => JSON.stringify(entry))),
    ).observe({ type: "layout-shift", buffered: true });
  });
}

/** Expects that nothing has moved since the page was opened. */
export async function expectNoShifts(page: Page): Promise<void> {
  // Entries are delivered with a frame's end.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  expect(await page.evaluate(() => window.shifts)).toEqual([]);
}
