// Outgoing webhooks, when an image is published or deleted.

import { reset } from "cloudflare:test";
import { Webhook } from "standardwebhooks";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import type { HookEvent, Manifest } from "../../src/api";
import { Worker, copyToBucket, finished, origin, photo, storedBird } from "./harness";

const secret = `whsec_${btoa("0123456789abcdef01234567")}`;
const [one, two] = ["https://build.example/hook", "https://other.example/hook"] as const;
const hooked = () => new Worker({ HOOK_URLS: `${one} ${two}`, HOOK_SECRET: secret });

interface Received {
  url: string;
  headers: Headers;
  body: string;
}

/** What the receivers get; they answer with these statuses in turn, and then with the last of them. */
function receive(...statuses: number[]): Received[] {
  const received: Received[] = [];
  const real = globalThis.fetch;
  vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
    const url = String(input instanceof Request ? input.url : input);
    if (!url.includes(".example/")) return real(input, init);
    received.push({ url, headers: new Headers(init?.headers), body: String(init?.body) });
    const status = statuses.length > 1 ? statuses.shift() : statuses[0];
    return Promise.resolve(new Response("", { status: status ?? 200 }));
  });
  return received;
}

const eventOf = ({ body, headers }: Received) =>
  new Webhook(secret).verify(body, Object.fromEntries(headers)) as HookEvent;

afterEach(() => void vi.restoreAllMocks());
afterAll(() => reset());

test("every receiver gets a signed webhook when an image is published, and when it is deleted", async () => {
  const worker = hooked();
  const received = receive(200);
  const { id } = await storedBird(worker);
  await worker.drain("hook");
  expect(received.map(({ url }) => url)).toEqual([one, two]);
  expect(received.map(eventOf)).toEqual(
    received.map(() => expect.objectContaining({ type: "image.published", data: expect.anything() as unknown })),
  );
  const described = await (await worker.fetch(`/api/images/${id}`)).json();
  expect(eventOf(received[0] as Received).data).toEqual(described);
  received.length = 0;

  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
  await worker.drain("hook");
  expect(received.map((one) => eventOf(one).data)).toEqual(received.map(() => ({ id, url: `${origin}/p/${id}` })));
  expect(received).toHaveLength(2);
  // Nothing happens to what is not there.
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
  expect(worker.queue.filter(({ body }) => body.kind === "hook")).toEqual([]);
});

test("in direct mode too, once, although the daemon's webhook comes twice", async () => {
  const worker = new Worker({ HOOK_URLS: one, HOOK_SECRET: secret, DIRECT: true });
  const received = receive(200);
  const { upload } = await worker.upload(await photo("test_square.jpg", crypto.randomUUID()));
  const job = await finished(upload);
  const { manifest } = job.output as { manifest: Manifest };
  await copyToBucket(manifest);
  await worker.webhook(job);
  await worker.webhook(job);
  await worker.drain("hook");
  const described = await (await worker.fetch(`/api/images/${manifest.id}`)).json();
  expect(received.map(eventOf)).toEqual([expect.objectContaining({ type: "image.published", data: described })]);

  received.length = 0;
  await worker.owner(`/api/images/${manifest.id}`, { method: "DELETE" });
  await worker.drain("hook");
  expect(received.map(eventOf)).toEqual([expect.objectContaining({ type: "image.deleted" })]);
});

test("a receiver that is down gets it later, with the same id, and not for ever", async () => {
  const worker = hooked();
  const received = receive(503);
  const { id } = await storedBird(worker);
  expect(await worker.step("hook")).toBe(true);
  const again = worker.queue.find(({ body }) => body.kind === "hook" && body.url === one);
  expect(again).toMatchObject({ attempts: 2, delaySeconds: 10 });
  worker.queue = [];
  for (let next = again; next; [next] = worker.queue) {
    worker.queue = [];
    await worker.handle(next);
  }
  expect(received).toHaveLength(21);
  expect(new Set(received.map(({ headers }) => headers.get("webhook-id"))).size).toBe(1);
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
});

test("410 ends it", async () => {
  const worker = hooked();
  const received = receive(410);
  const { id } = await storedBird(worker);
  await worker.drain("hook");
  expect(received).toHaveLength(2);
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
});

test("an image that is deleted before its webhook was delivered is not published", async () => {
  const worker = hooked();
  const received = receive(200);
  const { id } = await storedBird(worker);
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
  await worker.drain("hook");
  expect(received.map((one) => eventOf(one).type)).toEqual(["image.deleted", "image.deleted"]);
});

test("without receivers there are no messages", async () => {
  const worker = new Worker();
  const { id } = await storedBird(worker);
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
  expect(worker.queue.filter(({ body }) => body.kind === "hook")).toEqual([]);
});
