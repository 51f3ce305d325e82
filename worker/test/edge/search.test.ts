// Searching: which images are found, in which order, and what that costs.

import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Image, ImageList, ProblemBody } from "../../src/api";
import { addToCatalog, migrate, removeFromCatalog, searchCatalog } from "../../src/catalog";
import { idOf, oldIndex } from "../fixtures/old-index";
import { Worker, dropIndex, empty, report, storedBird } from "./harness";

let worker: Worker;

beforeEach(async () => {
  worker = new Worker();
  await migrate(worker.env); // of an empty KV
});
afterEach(empty);

function image(n: number, change: Partial<Image> = {}): Image {
  const at = new Date(1.7e12 + n * 1000).toISOString();
  const words = { title: "", alt: "", caption: "", tags: [] };
  const size = { width: 4, height: 3, thumbhash: "", color: "#000000", formats: { jpeg: [320] } };
  return {
    id: idOf(n),
    ...size,
    ...words,
    created_at: at,
    uploaded_at: at,
    taken_at: null,
    animated: false,
    ...change,
  };
}

/** Image n has the nth of these. */
async function add(...images: Partial<Image>[]): Promise<void> {
  for (const [n, change] of images.entries()) await addToCatalog(worker.env, image(n, change));
}

const path = (query: Record<string, string>) => `/api/images?${new URLSearchParams({ view: "compact", ...query })}`;

/** The numbers of the images that are found, over all pages. */
async function found(query: Record<string, string>): Promise<number[]> {
  return (await pages(query)).flat().map(({ id }) => numberOf(id));
}

const numberOf = (id: string) => Number([...id].map((letter) => "abcdefghij".indexOf(letter)).join(""));

async function pages(query: Record<string, string>): Promise<Image[][]> {
  const all: Image[][] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const response = await worker.fetch(path({ ...query, cursor }));
    expect([query, response.status]).toEqual([query, 200]);
    const page: ImageList = await response.json();
    all.push(page.images);
    cursor = page.cursor;
  }
  return all;
}

async function refused(query: Record<string, string>): Promise<[number, string]> {
  const response = await worker.fetch(path(query));
  return [response.status, (await response.json<ProblemBody>()).code];
}

describe("which images are found", () => {
  const sofa: Partial<Image> = {
    title: "Mitzi",
    alt: "A black cat on a red sofa",
    caption: "She sleeps.",
    tags: ["cats"],
  };
  const road: Partial<Image> = { title: "Straße nach Łódź", alt: "Café Crème, Ærø", tags: ["süße katze", "at home"] };
  const tower: Partial<Image> = { title: "東京タワーの夜", caption: "Θεσσαλονίκη 🐈 2019-07" };
  test.each<[string, number[]]>([
    ["mitzi", [0]],
    ["MITZI", [0]],
    ["cat", [0]],
    ["ca", [1, 0]], // cat, and café
    ["at", [1]], // the beginning of a word, not any part of it
    ["cat sofa", [0]],
    ["sofa  cat", [0]],
    ["cat sleep mitzi", [0]], // in different texts
    ["cat dog", []],
    ["cats", [0]],
    ["cafe creme", [1]],
    ["CAFÉ", [1]],
    ["Crème", [1]],
    ["strasse", [1]],
    ["straß", [1]],
    ["lodz", [1]],
    ["aero", [1]],
    ["suss", [1]],
    ["suße katze", [1]],
    ["home", [1]],
    ["タワー", [2]],
    ["京", [2]],
    ["θεσ", [2]],
    ["ΘΕΣΣΑΛΟΝΙΚΗ", [2]],
    ["🐈", [2]],
    ["2019-07", [2]],
    ["red, black!", [0]],
    ["!?", []], // nothing that could be found
  ])("%s", async (q, expected) => {
    await add(sofa, road, tower);
    expect(await found({ q })).toEqual(expected);
  });

  // What is written in one of these ways is found by each of the others.
  test.each([
    [["straße", "STRASSE", "STRAẞE"]], // the capital letter that German has since 2017
    [["❤", "❤️", "❤︎"]], // as keyboards write it, with a selector for colors or without
    [["葛", "葛󠄀"]],
    [["👍", "👍🏽"]],
    [["Donaudampf", "Donau\u00addampf"]], // a soft hyphen, as in what is copied from pages
    [["محمد", "محـــمد"]], // widened
  ])("%j", async (ways) => {
    await add(...ways.map((title) => ({ title })));
    const everything = ways.map((_, n) => n).reverse();
    for (const q of ways) expect([q, await found({ q })]).toEqual([q, everything]);
  });

  test("flags are emoji, of two characters", async () => {
    await add({ title: "Berlin 🇩🇪" }, { title: "🇪🇸🇩🇰" }, { title: "Málaga 🇪🇸" });
    expect(await found({ q: "🇩🇪" })).toEqual([0]);
    expect(await found({ q: "🇪🇸" })).toEqual([2, 1]);
    expect(await found({ q: "málaga 🇩🇪" })).toEqual([]);
  });

  test("the hyphen of Hebrew separates words; its points do not", async () => {
    await add({ title: "בֵּית־סֵפֶר" });
    for (const q of ["ספר", "בית ספר", "בית־ספר", "סֵפֶר"]) expect([q, await found({ q })]).toEqual([q, [0]]);
  });

  test.each(["", " ", "\t\n"])("an empty search is none: %j", async (q) => {
    await add({ title: "one" }, { title: "two" });
    expect(await found({ q })).toEqual([1, 0]);
  });

  test("together with a tag, and a time", async () => {
    await add(
      { title: "cat one", tags: ["cats", "at home"] },
      { title: "cat two", tags: ["at"] },
      { title: "dog", tags: ["at home"] },
      { title: "cat three", tags: ["at home"] },
    );
    expect(await found({ q: "cat", tag: "at home" })).toEqual([3, 0]);
    expect(await found({ q: "cat", tag: "At Home", limit: "1" })).toEqual([3, 0]);
    expect(await found({ q: "cat", tag: "at" })).toEqual([1]);
    expect(await found({ q: "cat", tag: "home" })).toEqual([]);
    expect(await found({ q: "cat", tag: '"' })).toEqual([]);
    expect(await found({ q: "cat", since: image(0).created_at })).toEqual([3, 1]);
    expect(await found({ q: "cat", tag: "at home", since: image(0).created_at })).toEqual([3]);
    expect(await found({ q: "cat", since: image(3).created_at })).toEqual([]);
  });
});

describe("what a visitor writes is no syntax", () => {
  test.each([
    ...['cat" OR "dog', 'cat" NOT "dog', "cat OR dog", "cat AND dog", "cat NOT dog", "NEAR(cat dog)", "cat + dog"],
    ...[
      "words:cat dog",
      "{words id}: cat dog",
      "- dog cat",
      "^cat dog",
      "(cat dog",
      "cat dog)",
      "cat* dog*",
      "cat:dog",
    ],
    ...["'; DROP TABLE images; --cat dog", "cat\u0000dog", "cat\\dog", "cat%dog_", 'cat"" ""dog', "$cat ?dog"],
  ])("%s", async (q) => {
    // Only the last has what all of these consist of.
    const all = "and or not near words id drop table images";
    await add({ title: "cat" }, { title: "dog" }, { title: all }, { title: `cat dog ${all}` });
    expect(await found({ q })).toEqual([3]);
  });

  test("nor can it name what only the index knows", async () => {
    await add({ title: "one", tags: ["cats"] });
    for (const q of [idOf(0), `\ue000${idOf(0)}`, "\ue001cats\ue001", "\ue000a", "\ue001"]) {
      const expected = q.includes("cats") ? [0] : [];
      expect([q, await found({ q })]).toEqual([q, expected]);
    }
  });
});

describe("what is refused", () => {
  test.each<[string, Record<string, string>]>([
    ["a long text", { q: "x".repeat(101) }],
    ["many words", { q: "a b c d e f g h i j k" }],
    ["many words without spaces", { q: "東京タワーの夜空海山川" }],
    ["another parameter", { query: "cat" }],
    ["a limit that is none", { q: "cat", limit: "101" }],
    ["a time that is none", { q: "cat", since: "yesterday" }],
    ["a time before all that a list can have", { q: "cat", since: "-271821-04-20T00:00:00Z" }],
    ["a time after that", { q: "cat", since: "+010000-01-01T00:00:00Z" }],
    ["a cursor that is none", { q: "cat", cursor: "x" }],
  ])("%s", async (_, query) => {
    expect(await refused(query)).toEqual([400, "invalid_request"]);
  });

  test("what is just within the limits is not", async () => {
    expect(await found({ q: "🐈".repeat(10) + " ".repeat(90) })).toEqual([]);
    expect(await found({ q: "x".repeat(100) })).toEqual([]);
    expect(await found({ q: "a b c d e f g h i j" })).toEqual([]);
  });

  test("the cursor of a list in a search, and the other way round", async () => {
    await add({ title: "cat" }, { title: "cat" });
    const cursorOf = async (query: Record<string, string>) =>
      (await (await worker.fetch(path({ limit: "1", ...query }))).json<ImageList>()).cursor ?? "";
    expect(await refused({ q: "cat", cursor: await cursorOf({}) })).toEqual([400, "invalid_request"]);
    expect(await refused({ cursor: await cursorOf({ q: "cat" }) })).toEqual([400, "invalid_request"]);
  });

  test("a search without D1", async () => {
    const { INDEX: _, ...bare } = worker.env;
    worker.env = bare;
    const response = await worker.fetch("/api/images?q=cat");
    expect([response.status, await response.json()]).toEqual([
      400,
      expect.objectContaining({ code: "invalid_request", detail: expect.stringContaining("cannot be searched") }),
    ]);
    expect((await worker.fetch("/api/images?q=")).status).toBe(200);
  });
});

test("the page has a field for it, but not without D1, and not where an image is gone", async () => {
  const field = /<form [^>]*id="search"[^>]*>/;
  const of = async (path: string) => field.exec(await (await worker.fetch(path)).text())?.[0];
  expect(await of("/")).not.toContain("hidden");
  expect(await of(`/p/${idOf(1)}`)).toBeUndefined();
  const { INDEX: _, ...bare } = worker.env;
  worker.env = bare;
  expect(await of("/")).toContain("hidden");
});

test("the response is shared as that of a list is", async () => {
  await add({ title: "cat" });
  const headers = { Origin: "https://blog.example" };
  const first = await worker.fetch("/api/images?q=cat", { headers });
  expect(first.headers.get("Access-Control-Allow-Origin")).toBe("*");
  expect(first.headers.get("Cache-Control")).toBe("public, max-age=60, stale-while-revalidate=600");
  const etag = first.headers.get("ETag") ?? "";
  const again = await worker.fetch("/api/images?q=cat", { headers: { "If-None-Match": etag } });
  expect([again.status, await again.text()]).toEqual([304, ""]);
  expect((await worker.fetch("/api/images?q=ca", { headers: { "If-None-Match": etag } })).status).toBe(304);
  expect((await worker.fetch("/api/images?q=cat", { method: "HEAD" })).headers.get("ETag")).toBe(etag);
  expect((await worker.owner("/api/images?q=cat")).headers.get("Cache-Control")).toBe("no-store");
});

test("in a private gallery only its readers search", async () => {
  await add({ title: "cat" });
  worker.env.PRIVATE = true;
  const stranger = await worker.fetch("/api/images?q=cat");
  expect([stranger.status, stranger.headers.get("Access-Control-Allow-Origin")]).toEqual([401, null]);
  expect(await stranger.text()).not.toContain(idOf(0));
  const owner = await worker.owner("/api/images?q=cat");
  expect([owner.status, owner.headers.get("Cache-Control")]).toEqual([200, "no-store"]);
  expect((await owner.json<ImageList>()).images).toHaveLength(1);
});

test("images of one time are all found, each once, and so are those of a minute", async () => {
  const { uploaded_at } = image(0);
  await add(...Array.from({ length: 7 }, (): Partial<Image> => ({ title: "cat", uploaded_at })));
  expect((await found({ q: "cat", limit: "2" })).sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  await removeFromCatalog(worker.env, idOf(3));
  await addToCatalog(worker.env, image(5, { title: "cat", uploaded_at }));
  expect((await found({ q: "cat", limit: "2" })).sort()).toEqual([0, 1, 2, 4, 5, 6]);
});

test("an image that is edited stays in its place among those of its time, until its time changes", async () => {
  const { uploaded_at } = image(0);
  await add(...Array.from({ length: 4 }, (): Partial<Image> => ({ title: "cat", uploaded_at })));
  const before = await found({ q: "cat" });
  for (const n of [0, 2, 0, 3, 1]) {
    await addToCatalog(worker.env, image(n, { title: "cat", caption: "edited", uploaded_at }));
    expect(await found({ q: "cat" })).toEqual(before);
  }
  expect(await found({ q: "edited" })).toEqual(before);
  await addToCatalog(worker.env, image(1, { title: "cat" }));
  expect(await found({ q: "cat" })).toEqual([1, ...before.filter((n) => n !== 1)]);
  await addToCatalog(worker.env, image(1, { title: "cat", uploaded_at: image(-1).uploaded_at }));
  expect(await found({ q: "cat" })).toEqual([...before.filter((n) => n !== 1), 1]);
});

test("an image is found from its upload on, by its words as they are, unless it is deleted", async () => {
  const { id } = await storedBird(worker);
  const finds = async (q: string) =>
    (await (await worker.fetch(path({ q }))).json<ImageList>()).images.map((image) => image.id);
  const patch = (words: object) => worker.owner(`/api/images/${id}`, { method: "PATCH", body: JSON.stringify(words) });
  expect(await finds("cardinal")).toEqual([id]);
  await patch({ alt: "Rotkehlchen", tags: ["garden"] });
  expect([await finds("cardinal"), await finds("rotk"), await finds("garden")]).toEqual([[], [id], [id]]);
  await patch({ tags: [] });
  expect([await finds("rotk"), await finds("garden")]).toEqual([[id], []]);
  await worker.owner(`/api/images/${id}/trash`, { method: "POST" });
  expect(await finds("rotk")).toEqual([]);
  await worker.owner(`/api/images/${id}/restore`, { method: "POST" });
  expect(await finds("rotk")).toEqual([id]);
  await worker.owner(`/api/images/${id}`, { method: "DELETE" });
  expect(await finds("rotk")).toEqual([]);
  await storedBird(worker);
  expect([await finds("rotk"), await finds("cardinal")]).toEqual([[], [id]]);
  const writes = worker.invocations.filter(({ rowsWritten }) => rowsWritten > 0);
  console.log(report(writes));
  for (const { rowsWritten } of writes) expect(rowsWritten).toBeLessThanOrEqual(12);
});

/** A gallery that could not be searched until now. */
async function unsearched(count: number): Promise<void> {
  await dropIndex();
  await oldIndex(env.INDEX as D1Database, count);
  worker = new Worker();
}

describe("a gallery of 10,000 images that could not be searched", () => {
  const count = 10_000;

  test("can be, by and by, while its list goes on; then a page of a search is one short query", async () => {
    await unsearched(count);
    expect((await worker.fetch("/api/images")).status).toBe(200);
    // Whoever searches moves it on; the trigger does too.
    const waiting = await worker.fetch("/api/images?q=sunset");
    expect([waiting.status, waiting.headers.get("Retry-After"), await waiting.json()]).toEqual([
      ...[503, "60"],
      expect.objectContaining({ code: "index_incomplete" }),
    ]);
    let ticks = 0;
    while ((await worker.fetch("/api/images?q=sunset&limit=1")).status === 503 && ticks < 100) {
      await worker.tick();
      ticks++;
    }
    for (const { external, internal, what } of worker.invocations) {
      expect(external + internal).toBeLessThanOrEqual(what === "scheduled" ? 20 : 12);
    }
    console.log(`${count} images were made searchable in ${worker.invocations.length - 2} steps`);

    worker.invocations.length = 0;
    const began = Date.now();
    const all = await pages({ q: "sunset", limit: "100" });
    console.log(`${count / 100} pages of a search for all images: ${(Date.now() - began) / (count / 100)} ms per page`);
    expect(all.map((page) => page.length)).toEqual(Array(count / 100).fill(100));
    expect(new Set(all.flat().map(({ id }) => id)).size).toBe(count);
    // In the order of the list, with those of one time.
    const ids = (listed: Image[][]) => listed.flat().map(({ id }) => id);
    expect(ids(all)).toEqual(ids(await pages({ limit: "100" })));
    for (const { internal, external, rowsRead } of worker.invocations) {
      expect([internal + external, rowsRead <= 3 * 101 + 1]).toEqual([1, true]);
    }
    const half = await pages({ q: "half1 sun", tag: "tag3", limit: "100" });
    expect(half.map((page) => page.length)).toEqual(Array(10).fill(100));
    expect(await pages({ q: "hundred42 half0 s", limit: "100" })).toHaveLength(1);
    for (const { rowsRead } of worker.invocations) expect(rowsRead).toBeLessThanOrEqual(3 * 101 + 1);
    await expectNoScan();
    worker.invocations.length = 0;
    for (const query of [{ q: "sunset" }, {}]) await worker.fetch(path({ ...query, limit: "60" }));
    const [search, list] = worker.invocations.map(({ rowsRead }) => rowsRead);
    console.log(`rows that a page of 60 reads: ${search} of a search, ${list} of the list`);
  });

  test("even if most of them were uploaded at the same time", async () => {
    await unsearched(2500);
    const [same, next] = [image(0).uploaded_at, new Date(Date.parse(image(0).uploaded_at) + 1).toISOString()];
    await env.INDEX?.prepare("UPDATE images SET created_at = iif(id < ?, ?, ?)").bind(idOf(2400), same, next).run();
    for (let n = 0; n < 10; n++) await worker.tick();
    const numbers = await found({ q: "sunset", limit: "100" });
    expect(numbers).toEqual(Array.from({ length: 2500 }, (_, n) => 2499 - n));
    // One more, and one that is edited.
    await addToCatalog(worker.env, image(2500, { title: "Sunset", uploaded_at: same }));
    await addToCatalog(worker.env, image(7, { title: "Sunset", uploaded_at: same }));
    expect(new Set(await found({ q: "sunset", limit: "100" })).size).toBe(2501);
  });

  test("again and again, and concurrently, it is the same", async () => {
    await unsearched(1000);
    for (let n = 0; n < 10; n++) await Promise.all([worker.tick(), worker.tick()]);
    const before = await pages({ q: "sunset", limit: "100" });
    expect(new Set(before.flat().map(({ id }) => id)).size).toBe(1000);
    await env.INDEX?.exec("DELETE FROM migration WHERE step < 0");
    for (let n = 0; n < 10; n++) await worker.tick();
    expect(await pages({ q: "sunset", limit: "100" })).toEqual(before);
    // An index that is deleted is made again.
    await env.INDEX?.exec("DROP TABLE texts");
    expect((await worker.fetch("/api/images?q=sunset")).status).toBe(503);
  });

  test("also with what an earlier version has looked into, which goes", async () => {
    await unsearched(3);
    await env.INDEX?.exec("CREATE VIRTUAL TABLE search USING fts5(words, id UNINDEXED)");
    await env.INDEX?.exec("INSERT INTO migration (step) VALUES (-2)");
    await worker.tick();
    expect(await found({ q: "sunset" })).toHaveLength(3);
    const left = await env.INDEX?.prepare("SELECT name FROM sqlite_master WHERE name LIKE 'search%'").all();
    expect(left?.results).toEqual([]);
  });

  test("however long its texts are", async () => {
    await unsearched(250);
    // Words of nine characters, each of which is taken apart into three letters of three bytes.
    const syllable = String.fromCharCode(0xac01);
    const word = (n: number) =>
      syllable.repeat(7) + String.fromCharCode(0xac01 + 28 * (n >> 4), 0xac01 + 28 * (n % 16));
    const text = (from: number, words: number) => Array.from({ length: words }, (_, n) => word(from + n)).join(" ");
    await env.INDEX?.prepare("UPDATE images SET image = json_set(image, '$.caption', ?, '$.alt', ?, '$.title', ?)")
      .bind(text(0, 200), text(200, 50), `Sunset ${text(250, 19)}`)
      .run();
    for (let n = 0; n < 30; n++) await worker.tick();
    expect(await found({ q: "sunset", limit: "100" })).toHaveLength(250);
  });

  test("what changes while it is made searchable is found as it is", async () => {
    await unsearched(4);
    const { INDEX: index } = worker.env as { INDEX: D1Database };
    let wasChanged = false;
    worker.env.INDEX = new Proxy(index, {
      get(object, name) {
        const value: unknown = Reflect.get(object, name);
        if (name !== "batch") return typeof value === "function" ? (value.bind(object) as unknown) : value;
        return async (statements: D1PreparedStatement[]) => {
          // The images have been read, and their words are not written yet.
          if (statements.length === 2 && !wasChanged) {
            wasChanged = true;
            await addToCatalog({ ...worker.env, INDEX: index }, image(0, { title: "Sunrise" }));
            await removeFromCatalog({ ...worker.env, INDEX: index }, idOf(1));
            await addToCatalog({ ...worker.env, INDEX: index }, image(9, { title: "Sunset" }));
          }
          return object.batch(statements);
        };
      },
    });
    await worker.tick();
    worker.env.INDEX = index;
    expect(wasChanged).toBe(true);
    expect((await found({ q: "sunset" })).sort()).toEqual([2, 3, 9]);
    expect(await found({ q: "sunrise" })).toEqual([0]);
  });
});

/** What the queries of searchCatalog() do, as SQLite plans them. */
async function expectNoScan(): Promise<void> {
  const plans: string[] = [];
  const index = new Proxy(env.INDEX as D1Database, {
    get(object, name) {
      const value: unknown = Reflect.get(object, name);
      if (name !== "prepare") return typeof value === "function" ? (value.bind(object) as unknown) : value;
      return (statement: string) => {
        if (statement.includes("MATCH")) plans.push(statement);
        return object.prepare(statement);
      };
    },
  });
  await searchCatalog(index, { limit: 60, before: null, since: "", tag: null, words: ["SUNSET"] });
  expect(plans).toHaveLength(1);
  const plan = await index.prepare(`EXPLAIN QUERY PLAN ${plans[0]}`).bind("", "", '"SUNSET"*', null, 61).all();
  const details = plan.results.map(({ detail }) => String(detail));
  expect(details).toEqual([
    expect.stringMatching(/^SCAN texts VIRTUAL TABLE INDEX \d+:M/), // by the words and the place
    expect.stringMatching(/^SEARCH images USING INDEX .*\(id=\?\)$/),
  ]);
}
