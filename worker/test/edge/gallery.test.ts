import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test, vi } from "vitest";
import golden from "../../../pkg/manifest/testdata/golden.json";
import type { Image, ImageList, Manifest, Variant } from "../../src/api";
import { isJob, isManifest } from "../../src/generated/validate";
import { describe as describeImage, entryKey, validateManifest, maxFiles, metadataOf } from "../../src/image";
import { Worker, empty } from "./harness";

afterEach(empty);

/** The daemon's own golden file, which has no URLs: they are those of a request. */
const manifest = {
  ...golden,
  variants: golden.variants.map((variant) => ({
    ...variant,
    url: `https://optimizer.example.com/files/${variant.key}`,
  })),
} as Manifest;

describe("the manifest", () => {
  test("the daemon's golden file is one", () => {
    expect(isManifest(manifest)).toBe(true);
    expect(validateManifest(manifest)).toBeNull();
  });

  test("a newer daemon may say more", () => {
    expect(isManifest({ ...manifest, mood: "good" })).toBe(true);
    const at = manifest.created_at;
    const job = {
      id: `job_${"0".repeat(26)}`,
      object: "job",
      kind: "image",
      status: "failed",
      input: "x",
      options: {},
    };
    const ended = { metadata: {}, output: null, attempts: 1, created_at: at, started_at: at, finished_at: at };
    expect(isJob({ ...job, ...ended, error: { code: "out_of_mood", message: "Not today." } })).toBe(true);
  });

  const [variant] = manifest.variants as [Variant];
  test.each([
    { version: 2 },
    { id: "../../etc" },
    { id: 7 },
    { created_at: "yesterday" },
    { placeholder: null },
    { variants: [{ ...variant, key: "../secret.webp" }] },
    { variants: [{ ...variant, sha256: "00" }] },
    { variants: [{ ...variant, bytes: 0 }] },
    { variants: [{ ...variant, bytes: "1" }] },
    { variants: [{ ...variant, content_type: "text/html" }] },
  ])("not with %j", (change) => {
    expect(isManifest({ ...manifest, ...change })).toBe(false);
  });

  test.each([
    { variants: [] },
    { variants: Array<Variant>(maxFiles + 1).fill(variant) },
    { variants: [variant, variant] },
    { variants: [{ ...variant, key: variant.key.replace("k3v5", "aaaa") }] },
    { variants: [{ ...variant, width: 321 }] },
    { variants: [{ ...variant, format: "jpeg" as const }] },
  ])("flawed %#", (change) => {
    expect(validateManifest({ ...manifest, ...change })).not.toBeNull();
  });
});

test("the largest image fits into the metadata of its entry", async () => {
  const variants = (["webp", "jpeg", "avif"] as const).flatMap((format) =>
    Array.from({ length: maxFiles / 3 }, (_, i): Variant => {
      const width = 16368 + i;
      return {
        ...(manifest.variants[0] as Variant),
        format,
        width,
        key: `${manifest.id}/${width}.${format === "jpeg" ? "jpg" : format}`,
      };
    }),
  );
  const largest: Manifest = {
    ...manifest,
    width: 16383,
    height: 16383,
    variants,
    placeholder: { ...manifest.placeholder, thumbhash: "A".repeat(36) },
    source: {
      ...manifest.source,
      frames: 2,
      taken_at: "2026-11-29T10:00:00+01:00",
      filename: `${"\u{1F408}".repeat(100)}.jpeg`,
    },
  };
  expect(validateManifest(largest)).toBeNull();
  const entry = describeImage(largest);
  const size = new TextEncoder().encode(JSON.stringify(metadataOf(entry))).byteLength;
  console.log(`metadata of ${variants.length} files: ${size} bytes`);
  expect(size).toBeLessThanOrEqual(1024);
  await env.META.put(entryKey(entry.id), JSON.stringify(entry), { metadata: metadataOf(entry) });
});

test.each([
  ["cat.jpg", "cat"],
  ["IMG_2041-edited.HEIC", "IMG 2041 edited"],
  ["IMG_4711.jpg", ""],
  ["PXL_20260713_101530123.MP.jpg", ""],
  ["WhatsApp Image 2026-07-13 at 10.15.30.jpeg", ""],
  ["DSC00042.JPG", ""],
  ["20260713_101530.jpg", ""],
  [`${"1".repeat(200)}x.jpg`, `${"1".repeat(100)}`],
  ["Pizza 4.jpg", "Pizza 4"],
  ["a\u0000b\u202Ec.png", "a b c"],
  [undefined, ""],
])("of %j the alternative text is %j", (filename, alt) => {
  const { filename: _, ...source } = manifest.source;
  expect(describeImage({ ...manifest, source: filename === undefined ? source : { ...source, filename } }).alt).toBe(
    alt,
  );
});

/** Without D1: lists are made from KV. */
function bare(): Worker {
  const worker = new Worker();
  delete worker.env.INDEX;
  return worker;
}

/** 26 letters that tell n. */
function idOf(n: number): string {
  return [...String(n * 7919).padStart(26, "0")].map((digit) => "abcdefghij"[Number(digit)]).join("");
}

async function fill(count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    const created_at = new Date(1.7e12 + ((n * 31) % count) * 1000).toISOString();
    const image = describeImage({ ...manifest, created_at });
    await env.META.put(entryKey(idOf(n)), "", { metadata: metadataOf(image) });
  }
}

test("the gallery is newest first, over all its pages, with one list call", async () => {
  const worker = bare();
  await fill(150);
  const images: Image[] = [];
  const sizes: number[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const page: ImageList = await (await worker.fetch(`/api/images?cursor=${encodeURIComponent(cursor)}`)).json();
    images.push(...page.images);
    sizes.push(page.images.length);
    cursor = page.cursor;
  }
  expect(sizes).toEqual([60, 60, 30]);
  expect(new Set(images.map(({ id }) => id)).size).toBe(150);
  const times = images.map(({ created_at }) => created_at);
  expect(times).toEqual(times.toSorted().reverse());
  // A listing, and the cache before and after it; the other pages come from the cache.
  expect(worker.invocations.map(({ external, internal }) => [external, internal])).toEqual([
    [0, 3],
    [0, 1],
    [0, 1],
  ]);
});

test("visitors share a page for a while; the owner sees what is", async () => {
  const worker = bare();
  const ids = async (list: Promise<Response>) => (await (await list).json<ImageList>()).images.length;
  await fill(1);
  expect(await ids(worker.fetch("/api/images"))).toBe(1);
  await fill(2);
  expect(await ids(worker.fetch("/api/images"))).toBe(1);
  expect(worker.invocations.at(-1)).toMatchObject({ external: 0, internal: 1 });
  expect(await ids(worker.owner("/api/images"))).toBe(2);
});

test("an empty list is not shared: it is about to be filled", async () => {
  const worker = bare();
  const empty = await worker.fetch("/api/images");
  expect(empty.headers.get("Cache-Control")).toBe("no-store");
  await fill(1);
  expect((await (await worker.fetch("/api/images")).json<ImageList>()).images).toHaveLength(1);
});

test("a new image between two pages moves nothing", async () => {
  const worker = bare();
  await fill(61);
  const first = await (await worker.fetch("/api/images")).json<ImageList>();
  const newest = { ...metadataOf(describeImage(manifest)), created_at: "2030-01-01T00:00:00.000Z" };
  await env.META.put(entryKey("z".repeat(26)), "", { metadata: newest });
  const second = await (
    await worker.fetch(`/api/images?cursor=${encodeURIComponent(first.cursor ?? "")}`)
  ).json<ImageList>();
  expect(second.images).toHaveLength(1);
  expect(first.images).not.toContainEqual(second.images[0]);
});

test.each([
  "x",
  "%00",
  btoa('{"listing":null,"after":null}'),
  `${btoa('{"listing":null,"after":null}')}.${"0".repeat(64)}`,
])("the cursor %j is refused", async (cursor) => {
  const response = await bare().fetch(`/api/images?cursor=${encodeURIComponent(cursor)}`);
  expect(response.status).toBe(400);
});

test("the signature of a cursor is compared in constant time", async () => {
  const worker = bare();
  await fill(61);
  const { cursor } = await (await worker.fetch("/api/images")).json<ImageList>();
  // The runtime's comparison is, JavaScript's own is not.
  const compare = vi.spyOn(crypto.subtle, "verify");
  expect((await worker.fetch(`/api/images?cursor=${encodeURIComponent(cursor ?? "")}`)).status).toBe(200);
  expect(compare).toHaveBeenCalledTimes(1);
  compare.mockRestore();
});
