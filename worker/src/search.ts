// What a search looks into: a full-text table of D1 (FTS5) beside the index. A row stands
// where its image is in lists, so that a page of a search reads as many rows as it has
// images, however many others would match. Among images of the same millisecond the last
// added is the first.

import type { Image } from "./api";
import { wordsOf } from "./text";

// The words come from text.ts, separated by spaces, so that the tokenizer has nothing to
// decide: to it everything beyond ASCII is a letter. Prefixes of up to three letters have
// an index of their own; of longer ones there are few. No positions, no lengths: nothing
// is ranked.
export const searchSchema = `CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5(words, id UNINDEXED,
  tokenize = 'ascii', detail = none, columnsize = 0, prefix = '1 2 3')`;

/** Rows for each millisecond: more than a gallery has images. So places have more digits than JavaScript's numbers. */
const places = 2 ** 20;
/** A place after all others, as SQL. */
const afterAll = "9223372036854775807";
/** Images per step of the migration, up to four of which share the 10 ms of CPU time that the free plan has. */
const atOnce = 100;
/** Characters of these images, but for the first: D1 takes values of 2 MB, and words have up to 9 bytes per character. */
const charactersAtOnce = 100_000;

/** SQL for where the places begin of images that were uploaded in the second of a time; after all if that is null. */
export function placeAt(time: string): string {
  return `coalesce(unixepoch(${time}) * ${1000 * places}, ${afterAll})`;
}

/** SQL for a place that was read as a text; after all if that is null. */
export function placeIn(text: string): string {
  return `CAST(coalesce(${text}, '${afterAll}') AS INTEGER)`;
}

/**
 * One token for an id or a tag, which no word of a text can be: with what is no letter or
 * digit in ASCII moved to a range of Unicode that texts do not use.
 */
function token(kind: "id" | "tag", name: string): string {
  const moved = name.replace(/[^a-z0-9\u0080-\uffff]/g, (c) => String.fromCharCode(0xe100 + c.charCodeAt(0)));
  return (kind === "id" ? "\ue000" : "\ue001") + moved;
}

/** The FTS5 expression for images that have all these words and this tag. Nothing in it is a visitor's syntax. */
export function matchOf(words: readonly string[], tag: string | null): string {
  const all = words.map((start) => `"${start}"*`);
  if (tag !== null) all.push(`"${token("tag", tag)}"`);
  return all.join(" ");
}

function matchOfId(id: string): string {
  return `"${token("id", id)}"`;
}

export function removeFromSearch(index: D1Database, id: string): D1PreparedStatement {
  return index.prepare("DELETE FROM texts WHERE texts MATCH ?").bind(matchOfId(id));
}

type Described = Pick<Image, "id" | "uploaded_at" | "title" | "alt" | "caption" | "tags">;

function rowOf(image: Described) {
  const { id, tags, uploaded_at } = image;
  const tokens = [...wordsOf(image), ...tags.map((tag) => token("tag", tag)), token("id", id)];
  return { id, at: Date.parse(uploaded_at), match: matchOfId(id), words: tokens.join(" ") };
}

/** Makes an image searchable that is in the index, by its words as they are. It keeps its place unless its time has changed. */
export function putIntoSearch(index: D1Database, image: Described): D1PreparedStatement[] {
  const { at, match, words } = rowOf(image);
  return [
    index.prepare(`DELETE FROM texts WHERE texts MATCH ? AND rowid / ${places} != ?`).bind(match, at),
    index.prepare("UPDATE texts SET words = ? WHERE texts MATCH ?").bind(words, match),
    addToSearch(index, [image]),
  ];
}

/** Makes images searchable that are in the index, unless they are. */
function addToSearch(index: D1Database, images: readonly Described[]): D1PreparedStatement {
  // Images of one time get places one after the other, those that are there come first.
  return index
    .prepare(
      `INSERT INTO texts (rowid, words, id)
       SELECT coalesce((SELECT rowid + 1 FROM texts WHERE rowid BETWEEN place AND place + ${places - 1}
         ORDER BY rowid DESC LIMIT 1), place) + row_number() OVER (PARTITION BY place ORDER BY id) - 1, words, id
       FROM (SELECT value ->> 'id' AS id, (value ->> 'at') * ${places} AS place, value ->> 'words' AS words,
         value ->> 'match' AS match FROM json_each(?)) AS described
       WHERE EXISTS (SELECT 1 FROM images WHERE images.id = described.id AND images.image IS NOT NULL)
       AND NOT EXISTS (SELECT 1 FROM texts WHERE texts MATCH described.match)`,
    )
    .bind(JSON.stringify(images.map(rowOf)));
}

/**
 * Makes the next images of the index searchable, by their ids. record is the statement that
 * saves how far that is; null, as what is returned, means that there are no more.
 */
export async function fillSearch(
  index: D1Database,
  after: string,
  record: (last: string | null) => D1PreparedStatement,
): Promise<string | null> {
  const { results } = await index
    .prepare("SELECT id, created_at, image FROM images WHERE id > ? AND image IS NOT NULL ORDER BY id LIMIT ?")
    .bind(after, atOnce)
    .all<{ id: string; created_at: string; image: string }>();
  const images: Described[] = [];
  let characters = 0;
  for (const { id, created_at, image } of results) {
    characters += image.length;
    if (images.length > 0 && characters > charactersAtOnce) break;
    const { title, alt, caption, tags = [] } = JSON.parse(image) as Image;
    images.push({ id, uploaded_at: created_at, title, alt, caption, tags });
  }
  const isLast = results.length < atOnce && images.length === results.length;
  const last = isLast ? null : (images.at(-1)?.id ?? null);
  await index.batch([addToSearch(index, images), record(last)]);
  return last;
}
