// Listing and deleting images.

import type { Image, ImageList } from "./api";
import { isOwner, requireOwner, sign } from "./auth";
import type { Env } from "./env";
import { idPattern } from "./files";
import { Problem, json, noContent, parseJSON } from "./http";
import { type ImageMetadata, entryKey } from "./image";
import { deleteCopy, sweep } from "./pull";
import { type ImageState, changeImage } from "./state";

const pageSize = 60;

/**
 * The start of a page: the KV listing it belongs to, and the previous image. A
 * listing has up to a thousand images, ordered by id; each is sorted here, so a
 * gallery of up to a thousand images is completely newest first.
 */
interface Cursor {
  listing: string | null;
  after: Pick<Image, "created_at" | "id"> | null;
}

/**
 * Seconds for which visitors share a page. The free plan has a thousand
 * listings per day, and KV itself is up to a minute late.
 */
const sharedFor = 120;

/** GET /api/images?cursor= */
export async function getImages(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  const url = new URL(request.url);
  const cursor = await parseCursor(env, url.searchParams.get("cursor"));
  // The owner always sees the current state.
  if (await isOwner(request, env)) return json(await listImages(env, cursor));
  const key = `${url.origin}/api/images?cursor=${encodeURIComponent(JSON.stringify(cursor))}`;
  const shared = await caches.default.match(key);
  if (shared) return json(await shared.json());
  const list = await listImages(env, cursor);
  ctx.waitUntil(caches.default.put(key, Response.json(list, { headers: { "Cache-Control": `max-age=${sharedFor}` } })));
  return json(list);
}

async function listImages(env: Env, { listing, after }: Cursor): Promise<ImageList> {
  const list = await env.META.list<ImageMetadata>({ prefix: entryKey(""), cursor: listing });
  const images = list.keys
    .flatMap(({ name, metadata }): Image[] => (metadata ? [{ id: name.slice(entryKey("").length), ...metadata }] : []))
    .sort(newestFirst)
    .filter((image) => after === null || newestFirst(after, image) < 0);
  const page = images.slice(0, pageSize);
  const last = page.at(-1);
  let next: Cursor | null = null;
  if (last && images.length > pageSize) next = { listing, after: { created_at: last.created_at, id: last.id } };
  else if (!list.list_complete) next = { listing: list.cursor, after: null };
  return { images: page, cursor: next && (await showCursor(env, next)) };
}

function newestFirst(a: Cursor["after"] & object, b: Cursor["after"] & object): number {
  return compare(b.created_at, a.created_at) || compare(a.id, b.id);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Signed: forged cursors would create listings that are not shared. */
async function showCursor(env: Env, cursor: Cursor): Promise<string> {
  const text = btoa(JSON.stringify(cursor));
  return `${text}.${await sign(env, text)}`;
}

async function parseCursor(env: Env, shown: string | null): Promise<Cursor> {
  if (shown === null || shown === "") return { listing: null, after: null };
  const [text = "", signature = ""] = shown.split(".");
  if (signature !== (await sign(env, text))) {
    throw new Problem(400, "invalid_request", "cursor must be that of an earlier page.");
  }
  return parseJSON(atob(text)) as Cursor; // written by showCursor
}

/** DELETE /api/images/{id}. Copies in browsers and at the edge stay until they expire. */
export async function deleteOne(request: Request, env: Env, id: string): Promise<Response> {
  await requireOwner(request, env);
  if (!idPattern.test(id)) throw new Problem(404, "not_found", "There is no such image.");
  // First, so that a running pull sees it and cleans up.
  const deleted: ImageState = { status: "deleted", deleted_at: new Date().toISOString() };
  await changeImage(env, id, (before) => before && deleted);
  await sweep(env, id);
  await deleteCopy(env, id);
  return noContent();
}
