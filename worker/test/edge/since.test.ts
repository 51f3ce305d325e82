// GET /api/images?since=: pages that are complete together, and how many rows of D1 each of
// them reads, however many images are older.

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { gallery } from "../../client/src/index";
import type { Image, ImageList } from "../../src/api";
import { oldIndex } from "../fixtures/old-index";
import { Worker, dropIndex, empty, origin } from "./harness";

let worker: Worker;
let index: D1Database;

beforeEach(() => {
  worker = new Worker();
  index = env.INDEX as D1Database;
});
afterEach(empty);

type Query = Record<string, string>;

/** The images of all pages, in their order. */
async function listed(query: Query): Promise<Image[]> {
  const all: Image[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const response = await worker.fetch(`/api/images?${new URLSearchParams({ view: "compact", ...query, cursor })}`);
    expect([query, response.status]).toEqual([query, 200]);
    const page: ImageList = await response.json();
    expect(page.images.length).toBeLessThanOrEqual(Number(query.limit));
    all.push(...page.images);
    cursor = page.cursor;
  }
  return all;
}

const idsOf = (images: Image[]) => images.map(({ id }) => id);
const createdAfter = (images: Image[], since: string) => images.filter(({ created_at }) => created_at > since);

/** A gallery whose images were made when they were uploaded, but for what these statements change. */
async function fill(count: number, changes: string[]): Promise<void> {
  await dropIndex();
  await oldIndex(index, count);
  for (const change of changes) await index.exec(change);
  await index.exec("UPDATE tags SET created_at = (SELECT created_at FROM images WHERE images.id = tags.id)");
  for (let ticks = 0; (await worker.fetch("/api/images?q=sunset&limit=1")).status === 503 && ticks < 100; ticks++) {
    await worker.tick();
  }
}

/** Of the fixture's image: its number, and a time after its upload. */
const n = "CAST(substr(image ->> 'title', 8) AS INTEGER)";
const later = (by: string) => `strftime('%Y-%m-%dT%H:%M:%fZ', created_at, ${by})`;
const makeLater = (by: string, which: string) =>
  `UPDATE images SET image = json_set(image, '$.created_at', ${later(by)}) WHERE ${which}`;

const selections: [string, Query][] = [
  ["the list", {}],
  ["an album", { tag: "tag0" }],
  ["a search", { q: "sunset" }],
  ["a search in an album", { q: "sunset half0", tag: "tag0" }],
];

describe("10,000 images have been imported, and what a request with since reads is limited", () => {
  const count = 10_000;
  /** When all images of the fixture have been uploaded. */
  const since = "2023-11-16T00:00:00.000Z";

  test.each<[string, number, string[]]>([
    ["if none is newer", 0, []],
    ["if the last uploaded is", 1, [makeLater("'10 days'", "created_at = (SELECT max(created_at) FROM images)")]],
    [
      "if one is that has waited while all others were made",
      1,
      [
        makeLater("'10 days'", `${n} = 10`),
        `UPDATE images SET created_at = '2023-11-14T00:00:00.000Z' WHERE ${n} = 10`,
      ],
    ],
    ["if one in ten is", 1000, [makeLater("'10 days'", `${n} % 10 = 0`)]],
  ])("%s", async (_, newer, changes) => {
    await fill(count, changes);
    for (const [name, selection] of selections) {
      const all = await listed({ ...selection, limit: "100" });
      for (const limit of [60, 100]) {
        worker.invocations.length = 0;
        const images = await listed({ ...selection, since, limit: `${limit}` });
        expect([name, idsOf(images)]).toEqual([name, idsOf(createdAfter(all, since))]);
        const rows = worker.invocations.map(({ rowsRead }) => rowsRead);
        const sum = rows.reduce((a, b) => a + b);
        const most = Math.max(...rows);
        console.log(
          `${name}, ${newer} newer, limit ${limit}: ${rows.length} requests, ${most} rows at most, ${sum} in all`,
        );
        // The rows of the page, of an album or a search two for each, 201 that say where the last page
        // ends, and one that says that the index is complete.
        const bound = (name === "the list" ? 1 : 2) * (limit + 1) + 1 + 201 + 1;
        expect([name, most]).toEqual([name, expect.toSatisfy((rows: number) => rows <= bound)]);
        if (newer === 0) expect([name, sum]).toEqual([name, expect.toSatisfy((rows: number) => rows < 10)]);
      }
    }
    expect(createdAfter(await listed({ limit: "100" }), since)).toHaveLength(newer);
  });
});

describe("the images of all pages are those that were made after a time, each once", () => {
  const count = 300;
  const hours = `((${n} * 7919) % 300)`;

  test.each<[string, string[]]>([
    ["made in another order than they were uploaded", [makeLater(`${hours} || ' hours'`, "1")]],
    [
      "of which many have the same times",
      [
        `UPDATE images SET created_at = strftime('%Y-%m-%dT%H:%M:%fZ', 1700000000 + ${n} / 40, 'unixepoch')`,
        makeLater(`(${hours} / 50) || ' days'`, "1"),
      ],
    ],
  ])("%s", async (_, changes) => {
    await fill(count, changes);
    const times = (await listed({ limit: "100" })).map(({ created_at }) => created_at).sort();
    for (const [name, selection] of selections) {
      const all = await listed({ ...selection, limit: "100" });
      for (const since of [
        "0000-01-01T00:00:00.000Z",
        ...[0, 50, 100, 200, 290, 298, 299].map((n) => times[n] ?? ""),
      ]) {
        for (const limit of ["7", "100"]) {
          const images = await listed({ ...selection, since, limit });
          expect([name, since, idsOf(images)]).toEqual([name, since, idsOf(createdAfter(all, since))]);
        }
      }
    }
  });

  test("also with the client, for which pages without images are no end", async () => {
    await fill(count, [
      makeLater("'1 day'", `${n} = 10`),
      `UPDATE images SET created_at = '2023-11-14' WHERE ${n} = 10`,
    ]);
    const pages: number[] = [];
    const send: typeof fetch = async (url) => {
      const response = await worker.fetch(String(url).slice(origin.length));
      pages.push((await response.clone().json<ImageList>()).images.length);
      return response;
    };
    const titles: string[] = [];
    const photos = gallery(origin, { fetch: send });
    for await (const { title } of photos.all({ since: "2023-11-15T12:00:00Z" })) titles.push(title);
    expect([titles, pages]).toEqual([["Sunset 10"], [0, 0, 1]]);
  });
});

test("the trigger makes the index that a gallery of an earlier version lacks", async () => {
  await fill(1000, []);
  await index.exec("DROP INDEX images_made");
  const since = (await listed({ limit: "100" }))[2]?.created_at ?? "";
  const rows: number[] = [];
  for (let attempt = 0; attempt < 2; attempt++) {
    expect(await listed({ since, limit: "60" })).toHaveLength(2);
    rows.push(worker.invocations.at(-1)?.rowsRead ?? 0);
    await worker.tick();
  }
  expect(rows).toEqual([
    expect.toSatisfy((rows: number) => rows > 1000),
    expect.toSatisfy((rows: number) => rows < 10),
  ]);
});
