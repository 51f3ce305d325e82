// The Worker at an address of its own: the daemon's real webhook finds it, the
// real queue carries the work.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { unstable_startWorker as startWorker } from "wrangler";
import type { Image, ImageList, Manifest, Upload, UploadAccepted } from "../../src/api";
import { Daemon, photoFolder, token, webhookSecret } from "./daemon";
import { Proxy } from "./proxy";

type Started = Awaited<ReturnType<typeof startWorker>>;

const ownerToken = "the owner's token";
const photos = photoFolder();
let daemon: Daemon;
let proxy: Proxy;
let worker: Started;
let url: string;

const text = (value: string) => ({ type: "plain_text" as const, value });
const dev = {
  server: { hostname: "127.0.0.1", port: 0 },
  inspector: false as const,
  persist: false as const,
  watch: false,
  logLevel: "error" as const,
};

beforeAll(async () => {
  daemon = await Daemon.start();
  proxy = new Proxy(daemon, photos);
  await proxy.start();
  worker = await startWorker({
    config: "wrangler.jsonc",
    // By address and token, as through a tunnel; the webhook comes to where the request came.
    bindings: {
      OPTIMIZER_URL: text(daemon.url),
      OPTIMIZER_TOKEN: text(token),
      UPLOAD_TOKEN: text(ownerToken),
      SESSION_SECRET: text("a secret"),
      WEBHOOK_SECRET: text(webhookSecret),
    },
    dev,
  });
  url = (await worker.url).origin;
});

afterAll(async () => {
  await worker?.dispose();
  await proxy?.dispose();
  await daemon?.dispose();
});

const owner = { Authorization: `Bearer ${ownerToken}` };

async function upload(name: string, query: string, headers: Record<string, string> = owner): Promise<UploadAccepted> {
  const response = await fetch(`${url}/api/images?${query}`, {
    method: "POST",
    headers,
    body: await readFile(join(photos, name)),
  });
  expect(response.status).toBe(202);
  return (await response.json()) as UploadAccepted;
}

/** Asks as the page does, until it has ended. */
async function ended(id: string): Promise<Upload> {
  for (;;) {
    const status = (await (await fetch(`${url}/api/uploads/${id}`, { headers: owner })).json()) as Upload;
    if (status.status === "done" || status.status === "failed") return status;
    await pause(100);
  }
}

/** Its files, as the Worker delivers them, against the daemon's manifest. */
async function expectDelivered(image: Image): Promise<number> {
  const manifest = (await (
    await fetch(`${daemon.url}/v1/images/${image.id}`, { headers: { Authorization: `Bearer ${token}` } })
  ).json()) as Manifest;
  for (const { format, width, sha256 } of manifest.variants) {
    const response = await fetch(`${url}/images/${image.id}?w=${width}&f=${format}`);
    const digest = createHash("sha256")
      .update(new Uint8Array(await response.arrayBuffer()))
      .digest("hex");
    expect([response.status, digest]).toEqual([200, sha256]);
  }
  return manifest.variants.length;
}

test("from a photo to the gallery, by webhook and queue", async () => {
  const began = performance.now();
  const accepted = await upload("northern_cardinal_bird.jpg", "filename=red_bird.jpg");
  const answered = performance.now();
  const done = await ended(accepted.upload);
  const stored = performance.now();
  expect(done).toMatchObject({ status: "done", stored: 21, total: 21, error: null });
  expect(done.image).toMatchObject({ width: 1920, height: 1080, alt: "red bird" });
  const files = await expectDelivered(done.image as Image);
  const list = (await (await fetch(`${url}/api/images?view=compact`)).json()) as ImageList;
  expect(list.images).toContainEqual(done.image);
  console.log(
    `2 MP, 0.8 MB: answered after ${Math.round(answered - began)} ms, ${files} files stored after ${Math.round(stored - began)} ms`,
  );
});

test("a browser's session: sign in, upload, delete, sign out", async () => {
  const origin = { Origin: url };
  const signIn = await fetch(`${url}/api/session`, {
    method: "POST",
    headers: origin,
    body: JSON.stringify({ token: ownerToken }),
  });
  expect(signIn.status).toBe(204);
  const Cookie = (signIn.headers.get("Set-Cookie") ?? "").split(";")[0] ?? "";
  const accepted = await upload("test_square.jpg", "filename=square.jpg", { Cookie, ...origin });
  const { image } = await ended(accepted.upload);
  const removed = await fetch(`${url}/api/images/${image?.id ?? ""}`, {
    method: "DELETE",
    headers: { Cookie, ...origin },
  });
  expect(removed.status).toBe(204);
  const { images } = (await (await fetch(`${url}/api/images`, { headers: { Cookie } })).json()) as ImageList;
  expect(images.map(({ id }) => id)).not.toContain(image?.id);
});

test("a photo that cannot be read fails, and says why", async () => {
  const bytes = (await readFile(join(photos, "test_square.jpg"))).subarray(0, 5000);
  const response = await fetch(`${url}/api/images`, { method: "POST", headers: owner, body: bytes });
  const { upload: id } = (await response.json()) as UploadAccepted;
  expect(await ended(id)).toMatchObject({ status: "failed", image: null, error: { code: "corrupt_image" } });
});

test("a Worker that was written for a hosted job API works with another base URL and key", async () => {
  const hosted = await startWorker({
    name: "hosted",
    entrypoint: "test/fixtures/hosted.ts",
    compatibilityDate: "2026-04-01",
    bindings: {
      API_BASE: text(daemon.url),
      API_KEY: text(token),
      BUCKET: { type: "r2_bucket", bucket_name: "hosted" },
    },
    dev,
  });
  try {
    const base = (await hosted.url).origin;
    const src = encodeURIComponent(`${proxy.url}/test/photos/northern_cardinal_bird.jpg`);
    const sources: (string | null)[] = [];
    const bodies = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const response = await fetch(`${base}/image?src=${src}&w=800`);
      const bytes = Buffer.from(await response.arrayBuffer());
      expect([response.status, bytes.subarray(8, 12).toString()]).toEqual([200, "WEBP"]);
      sources.push(response.headers.get("X-Source"));
      bodies.add(createHash("sha256").update(bytes).digest("hex"));
    }
    expect(sources).toEqual(["job", "bucket", "cache"]);
    expect(bodies.size).toBe(1);
  } finally {
    await hosted.dispose();
  }
});
