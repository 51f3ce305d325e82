// The index of images in KV, for a Worker without D1. KV lists by key, and the
// keys are ids, which are hashes: a listing of up to a thousand images is sorted
// here. So a gallery of up to a thousand is completely newest first, a larger one
// within each thousand.

import type { Image } from "./api";
import { type Page, type Position, positionOf } from "./catalog";
import type { Env } from "./env";
import { type ImageMetadata, entryKey, imageOfMetadata } from "./image";
import { listTag, tagged } from "./purge";

/** The start of a page: the KV listing it belongs to, and the image before it. */
export interface KVPosition {
  listing: string | null;
  after: Position | null;
}

interface Listing {
  images: Image[];
  /** Of the next listing. */
  cursor: string | null;
}

/**
 * Seconds for which visitors share a listing. The free plan has a thousand
 * listings per day, and KV itself is up to a minute late.
 */
const sharedFor = 120;

/** Returns a page; fresh ones are not shared. */
export async function listKV(
  env: Env,
  ctx: ExecutionContext,
  site: string,
  { listing, after }: KVPosition,
  limit: number,
  fresh: boolean,
): Promise<Pick<Page, "images"> & { next: KVPosition | null }> {
  const list = fresh ? await readListing(env, listing) : await sharedListing(env, ctx, site, listing);
  const images = list.images.filter((image) => after === null || newestFirst(after, positionOf(image)) < 0);
  const page = images.slice(0, limit);
  const last = page.at(-1);
  let next: KVPosition | null = null;
  if (last && images.length > limit) next = { listing, after: positionOf(last) };
  else if (list.cursor !== null) next = { listing: list.cursor, after: null };
  return { images: page, next };
}

/** All pages of a listing come from one list call. */
async function sharedListing(env: Env, ctx: ExecutionContext, site: string, listing: string | null): Promise<Listing> {
  const key = `${site}/api/listing?cursor=${encodeURIComponent(listing ?? "")}`;
  const shared = await caches.default.match(key);
  if (shared) return shared.json<Listing>();
  const list = await readListing(env, listing);
  // An empty gallery is about to be filled.
  if (list.images.length > 0) {
    const headers = { "Cache-Control": `max-age=${sharedFor}` };
    ctx.waitUntil(caches.default.put(key, tagged(Response.json(list, { headers }), listTag)));
  }
  return list;
}

async function readListing(env: Env, listing: string | null): Promise<Listing> {
  const list = await env.META.list<ImageMetadata>({ prefix: entryKey(""), cursor: listing });
  const images = list.keys
    .flatMap(({ name, metadata }): Image[] =>
      metadata ? [imageOfMetadata(name.slice(entryKey("").length), metadata)] : [],
    )
    .sort((a, b) => newestFirst(positionOf(a), positionOf(b)));
  return { images, cursor: list.list_complete ? null : list.cursor };
}

function newestFirst(a: Position, b: Position): number {
  return compare(b.created_at, a.created_at) || compare(a.id, b.id);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
