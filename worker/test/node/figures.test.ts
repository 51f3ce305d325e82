// What lists and searches of a large gallery take, in time and in the Worker's memory. The
// figures are printed: COSTS.md has them. Nothing here depends on how fast a machine is.

import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "undici";
import { unstable_startWorker as startWorker } from "wrangler";
import type { ImageList } from "../../src/api";

const count = 10_000;
const rounds = 50;

let worker: Awaited<ReturnType<typeof startWorker>>;
let url: string;

beforeAll(async () => {
  const text = (value: string) => ({ type: "plain_text" as const, value });
  worker = await startWorker({
    config: "wrangler.jsonc",
    entrypoint: "test/fixtures/filled.ts",
    bindings: { UPLOAD_TOKEN: text("the owner's token"), SESSION_SECRET: text("a secret") },
    dev: {
      server: { hostname: "127.0.0.1", port: 0 },
      inspector: { hostname: "127.0.0.1", port: 0 },
      persist: false,
      watch: false,
      logLevel: "error",
    },
  });
  url = (await worker.url).origin;
  expect((await fetch(`${url}/test/fill?count=${count}`)).status).toBe(200);
});
afterAll(() => worker?.dispose());

async function page(query: string): Promise<ImageList> {
  const response = await fetch(`${url}/api/images?view=compact&${query}`);
  expect([query, response.status]).toEqual([query, 200]);
  return (await response.json()) as ImageList;
}

/** Of a page of 60, with its way over HTTP on this machine: the fastest is what a busy machine affects least. */
async function timed(query: string): Promise<string> {
  const times: number[] = [];
  let { cursor } = await page(query);
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const next = await page(cursor === null ? query : `${query}&cursor=${encodeURIComponent(cursor)}`);
    times.push(performance.now() - began);
    ({ cursor } = next);
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => `${(times[Math.floor(share * (times.length - 1))] ?? 0).toFixed(1)} ms`;
  return `fastest ${at(0)}, median ${at(0.5)}, 95 % within ${at(0.95)}`;
}

/** Asks V8 how much of the heap of the Worker's isolate is in use. One client at a time may do that. */
async function inspect(): Promise<{ heap: () => Promise<number>; close: () => void }> {
  const listed = await fetch(new URL("/json", await worker.inspectorUrl));
  const [target] = (await listed.json()) as [{ webSocketDebuggerUrl: string }];
  // Only pages of this machine may connect.
  const socket = new WebSocket(target.webSocketDebuggerUrl, { headers: { Origin: "http://localhost" } });
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", reject);
  });
  let asked = 0;
  const heap = () => {
    const id = ++asked;
    return new Promise<number>((resolve) => {
      socket.addEventListener("message", ({ data }) => {
        const message = JSON.parse(String(data)) as { id?: number; result: { usedSize: number } };
        if (message.id === id) resolve(message.result.usedSize);
      });
      socket.send(JSON.stringify({ id, method: "Runtime.getHeapUsage" }));
    });
  };
  return { heap, close: () => socket.close() };
}

test(`a gallery of ${count} images: time and memory`, async () => {
  const { heap, close } = await inspect();
  const before = await heap();
  let most = before;
  for (const [what, query] of [
    ["a page of the list", ""],
    ["a page of an album", "tag=tag3"],
    ["a page of a search that finds all", "q=sunset"],
    ["the same by one letter", "q=s"],
    ["a page of a search for three words", "q=sunset+half1+hundred"],
    ["a page of a search in an album", "q=sunset&tag=tag3"],
    ["a search that finds nothing", "q=dinosaur"],
  ] as const) {
    console.log(`${what}: ${await timed(query)}`);
    most = Math.max(most, await heap());
  }
  close();
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  console.log(`the Worker's heap: ${mb(before)} before, at most ${mb(most)} after ${7 * (rounds + 1)} pages`);
  // Cloudflare ends an isolate at 128 MB.
  expect(most).toBeLessThan(64e6);
});
