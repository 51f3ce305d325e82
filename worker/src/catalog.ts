// The index of images in D1, if the Worker has the INDEX binding: newest first,
// however many there are, any page in one query. KV remains what other services
// read, and what the index is made from.

import type { Image } from "./api";
import type { Env } from "./env";
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

// created_at is the time by which lists are sorted, uploaded_at of the image.
// A deleted image keeps its row, without the image: KV lists it for a minute
// more, and the migration must not bring it back.
const schema = [
  "CREATE TABLE IF NOT EXISTS images (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, image TEXT)",
  "CREATE INDEX IF NOT EXISTS images_newest ON images (created_at DESC, id DESC) WHERE image IS NOT NULL",
  `CREATE TABLE IF NOT EXISTS tags (tag TEXT, created_at TEXT, id TEXT,
   PRIMARY KEY (tag, created_at DESC, id DESC)) WITHOUT ROWID`,
  "CREATE INDEX IF NOT EXISTS tags_image ON tags (id)",
  "CREATE TABLE IF NOT EXISTS migration (step INTEGER PRIMARY KEY, cursor TEXT)",
];
/** The row of migration that says that all of KV is in the index. */
const complete = 1;

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

/** Returns a page of the images; null if the index is not complete yet. */
export async function listCatalog(index: D1Database, { limit, after, since, tag }: Selection): Promise<Page | null> {
  const { created_at, id } = after ?? { created_at: "~", id: "" }; // after all dates
  const from = tag === null ? "images AS listed" : "tags AS listed JOIN images USING (id)";
  const statement = `SELECT image FROM ${from}
    WHERE ${tag === null ? "image IS NOT NULL" : "tag = ?5"}
    AND (listed.created_at, listed.id) < (?1, ?2) AND listed.created_at > ?3 AND image ->> 'created_at' > ?6
    ORDER BY listed.created_at DESC, listed.id DESC LIMIT ?4`;
  const values = [created_at, id, uploadedAfter(since), limit + 1, tag, since];
  try {
    const [migration, rows] = await index.batch<{ image: string }>([
      index.prepare("SELECT 1 FROM migration WHERE step = ?").bind(complete),
      index.prepare(statement).bind(...values),
    ]);
    if (!migration || !rows || migration.results.length === 0) return null;
    const images = rows.results.map(({ image }) => completed(JSON.parse(image) as Image));
    const last = images.length > limit ? images[limit - 1] : undefined;
    return { images: images.slice(0, limit), next: last ? positionOf(last) : null };
  } catch (error) {
    if (String(error).includes("no such table")) return null;
    throw error;
  }
}

/** No image that was made after a time was uploaded before this. */
function uploadedAfter(since: string): string {
  return since && new Date(Date.parse(since) - longestMaking).toISOString();
}

/** Images that earlier versions have published lack some fields. */
function completed(image: Image): Image {
  const { uploaded_at = image.created_at, taken_at = null, animated = false } = image as Partial<Image> & Image;
  return { ...image, uploaded_at, taken_at, animated };
}

/** Adds an image, or replaces it. */
export async function addToCatalog(env: Env, image: Image): Promise<void> {
  await write(env, image.id, image.uploaded_at, JSON.stringify(image), image.tags);
}

export async function removeFromCatalog(env: Env, id: string): Promise<void> {
  await write(env, id, "", null, []);
}

async function write({ INDEX: index }: Env, id: string, created_at: string, image: string | null, tags: string[]) {
  if (!index) return;
  await index.batch([
    ...schema.map((statement) => index.prepare(statement)),
    index.prepare("INSERT OR REPLACE INTO images (id, created_at, image) VALUES (?, ?, ?)").bind(id, created_at, image),
    index.prepare("DELETE FROM tags WHERE id = ?").bind(id),
    index
      .prepare("INSERT INTO tags (tag, created_at, id) SELECT value, ?, ? FROM json_each(?)")
      .bind(created_at, id, JSON.stringify(tags)),
  ]);
}

/**
 * Copies the entries of KV into the index, unless that has been done. It can be
 * interrupted and repeated at any time: an image that is in the index, or was
 * deleted from it, stays as it is.
 */
export async function migrate({ INDEX: index, META: meta }: Env): Promise<void> {
  if (!index) return;
  await index.batch(schema.map((statement) => index.prepare(statement)));
  const { results } = await index.prepare("SELECT step, cursor FROM migration ORDER BY step DESC").all<{
    step: number;
    cursor: string | null;
  }>();
  if (results[0]?.step === complete) return;
  let cursor = results[0]?.cursor ?? null;
  for (let requests = 2; requests <= enoughRequests; ) {
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
      index
        .prepare("INSERT OR REPLACE INTO migration (step, cursor) VALUES (?, ?)")
        .bind(list.list_complete ? complete : 0, cursor),
    ]);
    if (cursor === null) return;
    requests += 2 + reads;
  }
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
