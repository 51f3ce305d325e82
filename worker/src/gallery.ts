// Listing, describing and deleting images, for the page and for other sites.

import type { ImageList, PublicImage } from "./api";
import { isOwner, requireOwner } from "./auth";
import { type Position, listCatalog, migrate, searchCatalog } from "./catalog";
import { deleteImage } from "./deletion";
import type { Env } from "./env";
import { idPattern } from "./files";
import { findImage } from "./find";
import { Problem, json, noContent, parseJSON, sharedJSON, siteOf } from "./http";
import { toPublic } from "./image";
import { type KVPosition, listKV } from "./listing";
import { isSigned, sign } from "./signature";
import { resolveImage } from "./state";
import { wordsIn } from "./text";

const defaultLimit = 60;
const maxLimit = 100;
/** Of a search: each word costs the database some time, however many images have it. */
const maxSearch = 100;
const maxWords = 10;

interface Query {
  limit: number;
  cursor: string | null;
  /** RFC 3339: only images created after that. */
  since: string;
  /** Only images with this tag. */
  tag: string | null;
  /** Only images with words that begin with each of these; null for all. */
  words: string[] | null;
  /** compact: without what can be derived, for the Worker's own page. */
  view: "full" | "compact";
}

/** GET /api/images?limit=&cursor=&since=&tag=&q=&view= */
export async function getImages(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  const query = parseQuery(new URL(request.url).searchParams);
  const owner = await isOwner(request, env);
  const { images, cursor } = await list(request, env, ctx, query, owner);
  const site = siteOf(request, env);
  const shown = query.view === "compact" ? images : images.map((image) => toPublic(image, site));
  const body = { images: shown, cursor };
  // The owner sees the current state, and an empty gallery is about to be filled.
  return owner || images.length === 0 ? json(body) : sharedJSON(request, body);
}

/** The newest images, for feeds and the pages of tags. */
export async function newest(
  request: Request,
  env: Env,
  ctx: ExecutionContext,
  limit: number,
  tag: string | null = null,
): Promise<PublicImage[]> {
  const query: Query = { limit, cursor: null, since: "", tag, words: null, view: "full" };
  const { images } = await list(request, env, ctx, query, false);
  return images.map((image) => toPublic(image, siteOf(request, env)));
}

async function list(
  request: Request,
  env: Env,
  ctx: ExecutionContext,
  query: Query,
  fresh: boolean,
): Promise<ImageList> {
  const { limit, cursor, since, tag, words } = query;
  const position = await parseCursor(env, cursor);
  if (words !== null) return search(env, ctx, { ...query, words }, position);
  if ("place" in position) throw badCursor();
  if (env.INDEX && !("listing" in position)) {
    const page = await listCatalog(env.INDEX, { limit, after: position.after, since, tag });
    if (page) return { images: page.images, cursor: page.next && (await showCursor(env, { after: page.next })) };
    ctx.waitUntil(migrate(env));
  }
  if (tag !== null) throw env.INDEX ? incomplete() : withoutIndex("has no tags");
  const from: KVPosition = "listing" in position ? position : { listing: null, after: null };
  const { images, next } = await listKV(env, ctx, siteOf(request, env), from, limit, fresh || env.PRIVATE);
  return {
    images: images.filter(({ created_at }) => created_at > since),
    cursor: next && (await showCursor(env, next)),
  };
}

async function search(
  env: Env,
  ctx: ExecutionContext,
  { limit, cursor, since, tag, words }: Query & { words: string[] },
  position: Cursor,
): Promise<ImageList> {
  if (!env.INDEX) throw withoutIndex("cannot be searched");
  if (cursor !== null && !("place" in position)) throw badCursor();
  // Nobody can have written what has neither letters nor digits.
  if (words.length === 0) return { images: [], cursor: null };
  const before = "place" in position ? position.place : null;
  const found = await searchCatalog(env.INDEX, { limit, before, since, tag, words });
  if (found === null) {
    ctx.waitUntil(migrate(env));
    throw incomplete();
  }
  const { images, next } = found;
  return { images, cursor: next === null ? null : await showCursor(env, { place: next }) };
}

/** KV has neither tags nor a search. */
function withoutIndex(lacks: string): Problem {
  return new Problem(400, "invalid_request", `This gallery ${lacks}: it has no D1 database.`);
}

function incomplete(): Problem {
  return new Problem(503, "index_incomplete", "The index is not complete yet; try again.", { "Retry-After": "60" });
}

function badCursor(): Problem {
  return new Problem(400, "invalid_request", "cursor must be that of an earlier page.");
}

function parseQuery(parameters: URLSearchParams): Query {
  const bad = (detail: string) => new Problem(400, "invalid_request", detail);
  for (const name of parameters.keys()) {
    if (!["limit", "cursor", "since", "tag", "q", "view"].includes(name)) throw bad(`There is no parameter ${name}.`);
  }
  const limit = parameters.get("limit") ?? String(defaultLimit);
  if (!/^[1-9][0-9]{0,2}$/.test(limit) || Number(limit) > maxLimit) throw bad(`limit must be 1 to ${maxLimit}.`);
  const after = parameters.get("since") ?? "";
  const since = after && parseTime(after);
  if (since === null) throw bad("since must be a time, like 2026-11-28T09:00:00Z.");
  const view = parameters.get("view") ?? "full";
  if (view !== "full" && view !== "compact") throw bad("view must be full or compact.");
  return {
    limit: Number(limit),
    cursor: parameters.get("cursor") || null,
    since,
    tag: parameters.get("tag")?.normalize("NFC").toLowerCase() ?? null,
    words: parseSearch(parameters.get("q") ?? ""),
    view,
  };
}

/** In the form that is compared, which has years of four digits; null if it is no such time. */
function parseTime(text: string): string | null {
  const time = Date.parse(text);
  const written = Number.isNaN(time) ? "" : new Date(time).toISOString();
  return /^\d/.test(written) ? written : null;
}

/** Null for an empty search, which is like none. */
function parseSearch(q: string): string[] | null {
  const text = q.trim();
  const words = [...text].length > maxSearch ? null : wordsIn(text);
  if (words === null || words.length > maxWords) {
    const detail = `A search (q) has at most ${maxSearch} characters and ${maxWords} words.`;
    throw new Problem(400, "invalid_request", detail);
  }
  return text === "" ? null : words;
}

/** Where a page begins: in the catalog, in a search, or in a listing of KV. */
type Cursor = { after: Position | null } | { place: string } | KVPosition;

/** Signed: forged cursors would create listings that are not shared. */
async function showCursor(env: Env, cursor: Cursor): Promise<string> {
  const text = btoa(JSON.stringify(cursor));
  return `${text}.${await sign(env, "cursor", text)}`;
}

async function parseCursor(env: Env, shown: string | null): Promise<Cursor> {
  if (shown === null) return { after: null };
  const [text = "", signature = ""] = shown.split(".");
  if (!(await isSigned(env, "cursor", text, signature))) throw badCursor();
  return parseJSON(atob(text)) as Cursor; // written by showCursor
}

/** GET /api/images/{id} */
export async function getImage(request: Request, env: Env, id: string): Promise<Response> {
  const image = await findImage(env, id);
  if (image === null) throw new Problem(404, "not_found", "There is no such image.");
  return sharedJSON(request, toPublic(image, siteOf(request, env)));
}

/** DELETE /api/images/{id}: for good, also from the trash. Copies in browsers stay until they expire; those at the edge too, without PURGE_TOKEN. */
export async function deleteOne(request: Request, env: Env, id: string): Promise<Response> {
  await requireOwner(request, env);
  if (!idPattern.test(id)) throw new Problem(404, "not_found", "There is no such image.");
  await deleteImage(env, (await resolveImage(env, id)).id);
  return noContent();
}
