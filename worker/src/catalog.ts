// The index of images in D1, if the Worker has the INDEX binding: newest first,
// however many there are, any page in one query. KV remains what other services
// read, and what the index is made from.

import type { Image } from "./api";
import type { Env } from "./env";
import { fillSearch, matchOf, placeAt, placeIn, putIntoSearch, removeFromSearch, searchSchema } from "./search";
import { type ImageEntry, type ImageMetadata, entryKey, imageOf, imageOfMetadata } from "./image";

/** The last image of a page, with the time by which the list is sorted. */
export interface Position {
  created_at: string;
  id: string;
}

export const positionOf = ({ uploaded_at, id }: Image): Position => ({ created_at: uploaded_at, id });

export interface Page {
  images: Image[];
  next: Position | null;
}

/** A page of what a search has found; next is a place in it. */
export interface Found {
  images: Image[];
  next: string | null;
}

// created_at is the time by which lists are sorted, uploaded_at of the image.
// A deleted image keeps its row, without the image: KV lists it for a minute
// more, and the migration must not bring it back.
const schema = [
  "CREATE TABLE IF NOT EXISTS images (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, image TEXT)",
  "CREATE INDEX IF NOT EXISTS images_newest ON images (created_at DESC, id DESC) WHERE image IS NOT NULL",
  "CREATE INDEX IF NOT EXISTS images_made ON images (image ->> 'created_at') WHERE image IS NOT NULL",
  `CREATE TABLE IF NOT EXISTS tags (tag TEXT, created_at TEXT, id TEXT,
   PRIMARY KEY (tag, created_at DESC, id DESC)) WITHOUT ROWID`,
  "CREATE INDEX IF NOT EXISTS tags_image ON tags (id)",
  "CREATE TABLE IF NOT EXISTS migration (step INTEGER PRIMARY KEY, cursor TEXT)",
  searchSchema,
  "DROP TABLE IF EXISTS search", // what searches of earlier versions looked into
];
/** The row of migration that says that all of KV is in the index; 0 says how far it is. */
const complete = 1;
/**
 * The same for the words of all images. Negative: versions without search, which a gallery
 * may go back to, look at the greatest.
 */
const searchable = -4;
const filling = -3;

/** migrate() begins no further listing after this many requests, and makes at most 20. */
const enoughRequests = 8;
/** Values of KV per request. */
const bulk = 100;

/** The most by which uploaded_at of an image is before its created_at: the patience of uploads, ms. */
export const longestMaking = 14 * 24 * 60 * 60_000;

export interface Selection {
  limit: number;
  after: Position | null;
  /** Only images created after that; "" for all. */
  since: string;
  /** Only images with this tag; null for all. */
  tag: string | null;
}

/** A row of a page, which has as many as without since; image is null if it was not created after that. */
interface Row {
  image: string | null;
}

const imageAfter = "iif(image ->> 'created_at' > ?1, image, NULL) AS image";

/** Rows that each page may read to find out where the last one ends: two large pages. */
const few = 200;

/**
 * SQL for the time before which none of the images was uploaded that were created after ?1: that of
 * the first of them (null if there is none), or ?2, the earliest it can be, if there are more than few.
 */
const firstUpload = `(SELECT iif(count(*) > ${few}, ?2, min(created_at)) FROM (SELECT created_at FROM images
  WHERE image IS NOT NULL AND image ->> 'created_at' > ?1 LIMIT ${few + 1}))`;

/** Returns a page of the images; null if the index is not complete yet. */
export async function listCatalog(index: D1Database, { limit, after, since, tag }: Selection): Promise<Page | null> {
  const { created_at, id } = after ?? { created_at: "~", id: "" }; // after all dates
  const from = tag === null ? "images AS listed" : "tags AS listed JOIN images USING (id)";
  const statement = `SELECT ${imageAfter}, listed.created_at, id FROM ${from}
    WHERE ${tag === null ? "image IS NOT NULL" : "tag = ?3"}
    AND (listed.created_at, listed.id) < (?4, ?5) AND listed.created_at >= ${since ? firstUpload : "?2"}
    ORDER BY listed.created_at DESC, listed.id DESC LIMIT ?6`;
  const values = [since, uploadedAfter(since), tag, created_at, id, limit + 1];
  const rows = await rowsOf<Row & Position>(index, complete, index.prepare(statement).bind(...values));
  if (rows === null) return null;
  const last = rows.length > limit ? rows[limit - 1] : undefined;
  return { images: imagesIn(rows.slice(0, limit)), next: last ? { created_at: last.created_at, id: last.id } : null };
}

export interface Question extends Omit<Selection, "after"> {
  /** As wordsIn() returns them. */
  words: readonly string[];
  before: string | null;
}

/** Returns a page of the images that have all these words; null if not all images can be searched yet. */
export async function searchCatalog(index: D1Database, question: Question): Promise<Found | null> {
  const { limit, before, since, tag, words } = question;
  const statement = `SELECT ${imageAfter}, CAST(texts.rowid AS TEXT) AS place FROM texts JOIN images USING (id)
    WHERE texts MATCH ?3 AND texts.rowid < ${placeIn("?4")}
    ${since ? `AND texts.rowid >= ${placeAt(firstUpload)}` : ""} ORDER BY texts.rowid DESC LIMIT ?5`;
  const values = [since, uploadedAfter(since), matchOf(words, tag), before, limit + 1];
  const rows = await rowsOf<Row & { place: string }>(index, searchable, index.prepare(statement).bind(...values));
  if (rows === null) return null;
  const next = rows.length > limit ? (rows[limit - 1]?.place ?? null) : null;
  return { images: imagesIn(rows.slice(0, limit)), next };
}

/** Returns the rows of a statement, unless a step of the migration is still to be done. */
async function rowsOf<T>(index: D1Database, step: number, statement: D1PreparedStatement): Promise<T[] | null> {
  try {
    const done = index.prepare("SELECT 1 FROM migration WHERE step = ?").bind(step);
    const [migration, rows] = await index.batch<T>([done, statement]);
    return migration?.results.length ? (rows?.results ?? null) : null;
  } catch (error) {
    if (String(error).includes("no such table")) return null;
    throw error;
  }
}

function imagesIn(rows: readonly Row[]): Image[] {
  return rows.flatMap(({ image }) => (image === null ? [] : [completed(JSON.parse(image) as Image)]));
}

/** No image that was created after a time was uploaded before this. */
function uploadedAfter(since: string): string {
  return since && new Date(Math.max(Date.parse(since) - longestMaking, 0)).toISOString();
}

/** Images that earlier versions have published lack some fields. */
function completed(image: Image): Image {
  const { uploaded_at = image.created_at, taken_at = null, animated = false } = image as Partial<Image> & Image;
  return { ...image, uploaded_at, taken_at, animated };
}

/** Adds an image, or replaces it. */
export async function addToCatalog(env: Env, image: Image): Promise<void> {
  await write(env, image.id, image);
}

export async function removeFromCatalog(env: Env, id: string): Promise<void> {
  await write(env, id, null);
}

async function write({ INDEX: index }: Env, id: string, image: Image | null): Promise<void> {
  if (!index) return;
  const created_at = image?.uploaded_at ?? "";
  const row = [id, created_at, image && JSON.stringify(image)];
  await index.batch([
    ...schema.map((statement) => index.prepare(statement)),
    index
      .prepare(
        `INSERT INTO images (id, created_at, image) VALUES (?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET created_at = excluded.created_at, image = excluded.image`,
      )
      .bind(...row),
    index.prepare("DELETE FROM tags WHERE id = ?").bind(id),
    index
      .prepare("INSERT INTO tags (tag, created_at, id) SELECT value, ?, ? FROM json_each(?)")
      .bind(created_at, id, JSON.stringify(image?.tags ?? [])),
    ...(image ? putIntoSearch(index, image) : [removeFromSearch(index, id)]),
  ]);
}

/**
 * Copies the entries of KV into the index, and makes all that is in it searchable, unless
 * that has been done. It can be interrupted and repeated at any time: an image that is in
 * the index, or was deleted from it, stays as it is.
 */
export async function migrate({ INDEX: index, META: meta }: Env): Promise<void> {
  if (!index) return;
  await index.batch(schema.map((statement) => index.prepare(statement)));
  const { results } = await index.prepare("SELECT step, cursor FROM migration").all<{ step: number; cursor: string }>();
  const steps = new Map(results.map(({ step, cursor }) => [step, cursor]));
  let requests = 2;
  if (!steps.has(complete)) {
    const made = await copyEntries(index, meta, steps.get(0) ?? null);
    if (made === null) return;
    requests += made;
  }
  let after = steps.get(filling) ?? "";
  for (; !steps.has(searchable) && requests <= enoughRequests; requests += 2) {
    const last = await fillSearch(index, after, (last) => reached(index, last === null ? searchable : filling, last));
    if (last === null) return;
    after = last;
  }
}

/** Records how far the migration is. */
function reached(index: D1Database, step: number, cursor: string | null): D1PreparedStatement {
  return index.prepare("INSERT OR REPLACE INTO migration (step, cursor) VALUES (?, ?)").bind(step, cursor);
}

/** Copies what KV lists from here on; returns the number of requests, null if that was not all. */
async function copyEntries(index: D1Database, meta: KVNamespace, cursor: string | null): Promise<number | null> {
  for (let requests = 0; requests <= enoughRequests - 2; ) {
    const list = await meta.list<ImageMetadata>({ prefix: entryKey(""), cursor });
    const { images, reads } = await imagesOf(meta, list.keys);
    cursor = list.list_complete ? null : list.cursor;
    const json = JSON.stringify(images);
    await index.batch([
      index
        .prepare(
          `INSERT OR IGNORE INTO images (id, created_at, image)
           SELECT value ->> 'id', value ->> 'uploaded_at', value FROM json_each(?)`,
        )
        .bind(json),
      // Those of the rows that have just been inserted.
      index
        .prepare(
          `INSERT OR IGNORE INTO tags (tag, created_at, id)
           SELECT tag.value, images.created_at, images.id FROM json_each(?) AS entry
           JOIN images ON images.id = entry.value ->> 'id' AND images.image = entry.value
           JOIN json_each(entry.value, '$.tags') AS tag`,
        )
        .bind(json),
      reached(index, list.list_complete ? complete : 0, cursor),
    ]);
    requests += 2 + reads;
    if (cursor === null) return requests;
  }
  return null;
}

/** The images of a KV listing, whose longer texts are in the values. */
async function imagesOf(
  meta: KVNamespace,
  keys: readonly KVNamespaceListKey<ImageMetadata>[],
): Promise<{ images: Image[]; reads: number }> {
  const written = keys.filter(({ metadata }) => metadata?.more).map(({ name }) => name);
  const texts = new Map<string, ImageEntry | null>();
  let reads = 0;
  for (let from = 0; from < written.length; from += bulk, reads++) {
    const values = await meta.get<ImageEntry>(written.slice(from, from + bulk), "json");
    for (const [name, entry] of values) texts.set(name, entry);
  }
  const images = keys.flatMap(({ name, metadata }): Image[] => {
    const entry = texts.get(name);
    if (entry) return [completed(imageOf(entry))];
    return metadata ? [imageOfMetadata(name.slice(entryKey("").length), metadata)] : [];
  });
  return { images, reads };
}
