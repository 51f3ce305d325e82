// What tests do with a page, and see of it.

import type { CDPSession, Page } from "playwright-core";

interface Seen {
  values: number[];
  texts: string[];
}

declare global {
  interface Window {
    seen: Seen;
  }
}

export function cdp(page: Page): Promise<CDPSession> {
  return page.context().newCDPSession(page);
}

/** Limits uploads to so many bytes a second; -1 lifts the limit. */
export async function throttle(page: Page, uploadThroughput: number): Promise<void> {
  const network = await cdp(page);
  await network.send("Network.enable");
  await network.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput,
  });
}

/**
 * Records every state of the rows in the tray. Call the result to get the values of the
 * first progress bar, and the texts of all rows.
 */
export async function watchRows(page: Page): Promise<() => Promise<Seen>> {
  await page.locator("#tray-rows").evaluate((rows) => {
    const seen: Seen = { values: [], texts: [] };
    window.seen = seen;
    new MutationObserver(() => {
      const bar = rows.querySelector<HTMLProgressElement>("li:first-child[data-step=sending] progress[value]");
      if (bar && bar.value !== seen.values.at(-1)) seen.values.push(bar.value);
      for (const { textContent } of rows.querySelectorAll(".step")) {
        if (!seen.texts.includes(textContent)) seen.texts.push(textContent);
      }
    }).observe(rows, { subtree: true, childList: true, attributes: true, characterData: true });
  });
  return () => page.evaluate(() => window.seen);
}

/** Drops a file on the page. */
export async function drop(page: Page, name: string, type: string): Promise<void> {
  const data = await page.evaluateHandle(
    ({ name, type }) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["dropped"], name, { type }));
      return transfer;
    },
    { name, type },
  );
  await page.dispatchEvent("main", "dragenter", { dataTransfer: data });
  await page.getByText("Drop to add to the gallery").waitFor();
  await page.dispatchEvent("main", "drop", { dataTransfer: data });
  await page.getByText("Drop to add to the gallery").waitFor({ state: "hidden" });
}
