import { env } from "cloudflare:workers";
import { afterEach, expect, test } from "vitest";
import type { ImageList, Manifest } from "../../src/api";
import type { ImageEntry } from "../../src/image";
import { Worker, bird, empty, finished, photo, report, storedFiles } from "./harness";

afterEach(empty);

test("a photo goes in, 21 files come out, and every number is counted", async () => {
  const worker = new Worker();
  const accepted = await worker.upload(await photo(bird, crypto.randomUUID()), "red_bird.jpg");
  expect(accepted).toMatchObject({ httpStatus: 202, status: "saved" });
  expect(worker.queue).toEqual([]);
  expect(await env.IMAGES.head(`inbox/${accepted.upload}`)).not.toBeNull();

  const job = await finished(accepted.upload);
  const { manifest } = job.output as { manifest: Manifest };
  expect(manifest.variants).toHaveLength(21);
  expect((await worker.webhook(job)).status).toBe(204);
  expect(await worker.status(accepted.upload)).toMatchObject({ status: "storing", stored: 0, total: 21 });
  await worker.step();
  expect(await worker.status(accepted.upload)).toMatchObject({ status: "storing", stored: 8, total: 21 });
  await worker.drain();
  const done = await worker.status(accepted.upload);
  expect(done).toMatchObject({ status: "done", stored: 21, total: 21, error: null });
  expect(done.image).toMatchObject({ id: manifest.id, width: 1920, height: 1080, alt: "red bird" });

  expect(await storedFiles(manifest)).toEqual(manifest.variants.map(({ key }) => key));
  const entry = await env.META.get<ImageEntry>(`image:${manifest.id}`, "json");
  expect(entry?.files).toHaveLength(21);
  expect(entry?.srcset.webp).toContain(`/images/${manifest.id}?w=320&f=webp 320w, `);
  const { images, cursor } = await (await worker.fetch("/api/images?view=compact")).json<ImageList>();
  expect(images).toEqual([done.image]);
  expect(cursor).toBeNull();

  // The bytes are not kept longer than they are needed, and the safety net finds nothing to do.
  expect(await env.IMAGES.head(`inbox/${accepted.upload}`)).toBeNull();
  await worker.tick();
  expect(worker.invocations.at(-1)).toMatchObject({ external: 0 });
  expect(worker.queue).toEqual([]);

  const work = worker.invocations.filter(({ what }) => !what.startsWith("GET"));
  console.log(report(work));
  const pulls = work.filter(({ what }) => what.includes('"pull"'));
  expect(pulls.map(({ external }) => external)).toEqual([8, 8, 5]);
  for (const { external, internal } of work) expect(external + internal).toBeLessThanOrEqual(20);
  expect(work.reduce((sum, { kvWrites }) => sum + kvWrites, 0)).toBe(1);
});

test("every width and format is delivered as it was made, the second time from the cache", async () => {
  const worker = new Worker();
  const { upload } = await worker.upload(await photo(bird, crypto.randomUUID()));
  const job = await finished(upload);
  const { manifest } = job.output as { manifest: Manifest };
  await worker.webhook(job);
  await worker.drain();
  for (const { width, format, bytes, content_type, key } of manifest.variants) {
    const path = `/images/${manifest.id}?w=${width}&f=${format}`;
    for (const from of ["r2", "cache"]) {
      const response = await worker.fetch(path);
      expect([from, response.status, response.headers.get("Content-Range")]).toEqual([from, 200, null]);
      // 1920 is between two rungs: what the cache has it under, nobody sees.
      expect(response.headers.get("X-From")).toBe(from);
      expect(response.headers.get("Content-Type")).toBe(content_type);
      expect(response.headers.get("Content-Length")).toBe(String(bytes));
      expect(response.headers.get("Cache-Control")).toContain("immutable");
      expect(response.headers.get("X-Content-Type-Options")).toBe("nosniff");
      const original = await (await env.IMAGES.get(key))?.arrayBuffer();
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(new Uint8Array(original as ArrayBuffer));
    }
  }
  const cached = worker.invocations.filter(({ what, internal }) => what.startsWith("GET /images/") && internal === 1);
  expect(cached).toHaveLength(21);
});

test("the same photo again is done at once, and is reported as a duplicate", async () => {
  const worker = new Worker();
  const bytes = await photo(bird, crypto.randomUUID());
  const job = await finished((await worker.upload(bytes)).upload);
  await worker.webhook(job);
  await worker.drain();
  const before = worker.invocations.length;
  const again = await worker.upload(bytes);
  expect(again).toMatchObject({ httpStatus: 202, status: "saved" });
  expect(await worker.status(again.upload)).toMatchObject({ status: "done", stored: 21, duplicate: true });
  expect(worker.queue.filter(({ body }) => body.kind === "pull")).toEqual([]);
  expect(worker.invocations.slice(before).every(({ kvWrites }) => kvWrites === 0)).toBe(true);
});

test("with DELETE_AFTER_PULL the daemon's copy goes when all is in R2", async () => {
  const worker = new Worker({ DELETE_AFTER_PULL: true });
  const job = await finished((await worker.upload(await photo("test_square.jpg", crypto.randomUUID()))).upload);
  const { manifest } = job.output as { manifest: Manifest };
  await worker.webhook(job);
  await worker.drain();
  expect(await storedFiles(manifest)).toHaveLength(manifest.variants.length);
  const gone = await env.OPTIMIZER?.fetch(`http://optimizer/v1/images/${manifest.id}`, {
    headers: { Authorization: "Bearer a-token-of-the-tests-alone" },
  });
  expect(gone?.status).toBe(404);
});
