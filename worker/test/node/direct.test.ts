// Direct mode, whole: the daemon writes by its own S3 client into the bucket that the
// Worker reads, and neither the queue nor a pull has a part in it.

import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { unstable_startWorker as startWorker } from "wrangler";
import type { ImageList, Manifest, Upload, UploadAccepted } from "../../src/api";
import { Daemon, photoFolder, token, webhookSecret } from "./daemon";
import { Proxy } from "./proxy";

const owner = { Authorization: "Bearer the owner's token" };
const photos = photoFolder();
const text = (value: string) => ({ type: "plain_text" as const, value });
let daemon: Daemon;
let proxy: Proxy;
let worker: Awaited<ReturnType<typeof startWorker>>;
let url: string;

beforeAll(async () => {
  daemon = await Daemon.prepare();
  proxy = new Proxy(daemon, photos);
  await proxy.start();
  worker = await startWorker({
    config: "wrangler.jsonc",
    entrypoint: "test/fixtures/bucket.ts",
    bindings: {
      DIRECT: { type: "json", value: true },
      OPTIMIZER_URL: text(proxy.url),
      OPTIMIZER_TOKEN: text(token),
      UPLOAD_TOKEN: text("the owner's token"),
      SESSION_SECRET: text("a secret"),
      WEBHOOK_SECRET: text(webhookSecret),
    },
    dev: {
      server: { hostname: "127.0.0.1", port: 0 },
      inspector: false,
      persist: false,
      watch: false,
      logLevel: "error",
    },
  });
  url = (await worker.url).origin;
  const key = join(daemon.folder, "s3-key");
  await writeFile(key, "id\nsecret\n", { mode: 0o600 });
  daemon.settings = {
    "storage.s3.endpoint": url,
    "storage.s3.bucket": "optimizerd-images",
    "storage.s3.key_file": key,
    "storage.upload_memory": "64MiB",
  };
  await daemon.start();
});

afterAll(async () => {
  await worker?.dispose();
  await proxy?.dispose();
  await daemon?.dispose();
});

/** Asks as the page does, until it has ended. */
async function uploaded(name: string): Promise<Upload> {
  const body = await readFile(join(photos, name));
  const response = await fetch(`${url}/api/images?filename=${name}`, { method: "POST", headers: owner, body });
  const { upload } = (await response.json()) as UploadAccepted;
  for (;;) {
    const status = (await (await fetch(`${url}/api/uploads/${upload}`, { headers: owner })).json()) as Upload;
    if (status.status === "done" || status.status === "failed") return status;
    await pause(100);
  }
}

test("from a photo to the gallery and out of it again, without a pull", async () => {
  const { image, status } = await uploaded("northern_cardinal_bird.jpg");
  expect(status).toBe("done");
  const id = image?.id ?? "";
  const { variants } = (await (
    await fetch(`${daemon.url}/v1/images/${id}`, { headers: { Authorization: `Bearer ${token}` } })
  ).json()) as Manifest;
  expect(variants).toHaveLength(21);
  for (const { format, width, sha256, content_type } of variants) {
    const response = await fetch(`${url}/images/${id}?w=${width}&f=${format}`);
    const digest = createHash("sha256")
      .update(new Uint8Array(await response.arrayBuffer()))
      .digest("hex");
    expect([response.status, digest, response.headers.get("Content-Type")]).toEqual([200, sha256, content_type]);
  }
  const ordered = await fetch(`${url}/images/${id}?w=640&f=webp&q=high`, { headers: owner });
  expect([ordered.status, ordered.headers.get("X-From")]).toEqual([200, "optimizer"]);
  expect(proxy.takeSeen().filter((line) => line.startsWith("GET /files/"))).toEqual([]);

  const object = (key: string) => fetch(`${url}/optimizerd-images/${key}`);
  expect((await object(`originals/${id}`)).status).toBe(200);
  await fetch(`${url}/api/images/${id}`, { method: "DELETE", headers: owner });
  const { images } = (await (await fetch(`${url}/api/images`, { headers: owner })).json()) as ImageList;
  expect(images).toEqual([]);
  const left = await (await object("?list-type=2&prefix=")).text();
  const keys = [...left.matchAll(/<Key>([^<]+)</g)].map(([, key = ""]) => key);
  expect(keys.filter((key) => !key.startsWith("state/"))).toEqual([]);
});
