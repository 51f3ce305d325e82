// GET /images/{id}?w=&f=&q=: the edge's cache, then R2, then the daemon.

import type { Format } from "./api";
import type { Env } from "./env";
import { extensions, idPattern } from "./files";
import { Problem } from "./http";
import { type ImageEntry, describe, entryKey } from "./image";
import { OptimizerError } from "./optimizer";
import { type Order, type Quality, order, orderKey, qualities } from "./order";
import { readImage } from "./state";

const maxWidth = 2048;
/** By preference: the first that a browser takes is the smallest. */
const byPreference = ["avif", "webp", "jpeg"] as const satisfies Format[];

/** What is asked for, as far as the address and the Accept header tell. */
interface Wish {
  id: string;
  /** On the ladder, as configured. */
  width: number;
  /** What may be sent, the best first. */
  formats: Format[];
  quality: Quality;
  /** Whether formats comes from Accept. */
  auto: boolean;
}

/** Browsers keep it for ever. The edge for a day: what is deleted must go some time. */
const immutable = "public, max-age=31536000, s-maxage=86400, immutable";
/** Of what stands in for something else, and of what is missing. */
const brief = "public, max-age=60";

export async function deliver(request: Request, env: Env, ctx: ExecutionContext, id: string): Promise<Response> {
  const url = new URL(request.url);
  const wish = parseWish(url, request.headers.get("Accept") ?? "", env, id);
  const cacheKey = cacheKeyOf(url.origin, wish);
  const conditions = conditionsOf(request);

  const cached = await caches.default.match(new Request(cacheKey, { headers: conditions }));
  if (cached) {
    const hit = new Response(cached.body, cached);
    hit.headers.set("X-From", "cache");
    return asAsked(request, hit);
  }
  const answer = await find(request, env, ctx, wish, conditions);
  if (answer.status === 200 && request.method === "GET") ctx.waitUntil(caches.default.put(cacheKey, answer.clone()));
  return asAsked(request, answer);
}

function parseWish(url: URL, accept: string, env: Env, id: string): Wish {
  if (!idPattern.test(id)) throw notFound();
  const { searchParams } = url;
  const w = searchParams.get("w") ?? String(maxWidth);
  const f = searchParams.get("f") ?? "auto";
  const q = searchParams.get("q") ?? "medium";
  const quality = qualities.find((name) => name === q);
  const format = byPreference.find((name) => name === f);
  const bad = (detail: string) => new Problem(400, "invalid_request", detail);
  if (!/^[1-9][0-9]{0,8}$/.test(w)) throw bad("w must be a width in pixels.");
  if (!quality) throw bad("q must be low, medium or high.");
  if (!format && f !== "auto") throw bad("f must be webp, avif, jpeg or auto.");

  const ladder = env.WIDTHS.split(",").map(Number);
  return {
    id,
    width: snap(ladder, Math.min(Number(w), maxWidth)),
    formats: format ? [format] : byPreference.filter((name) => name === "jpeg" || accepts(accept, name)),
    quality,
    auto: !format,
  };
}

/** The rung that is no smaller, or else the largest. */
function snap(widths: number[], width: number): number {
  const larger = widths.filter((rung) => rung >= width);
  return larger.length > 0 ? Math.min(...larger) : Math.max(...widths);
}

function accepts(accept: string, format: Format): boolean {
  return accept.split(",").some((range) => {
    const [type = "", ...parameters] = range
      .toLowerCase()
      .split(";")
      .map((part) => part.trim());
    return type === `image/${format}` && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
  });
}

/**
 * The name of an answer in the cache, which goes by no header: what Accept
 * decides must be in the address.
 */
function cacheKeyOf(origin: string, { id, width, formats, quality, auto }: Wish): string {
  return `${origin}/images/${id}?w=${width}&f=${auto ? "auto." : ""}${formats.join(".")}&q=${quality}`;
}

/**
 * What of the request decides between the whole picture, a part and none of it.
 * If-Match and the like are for those who change things.
 */
function conditionsOf(request: Request): Headers {
  const names = ["If-Modified-Since"];
  // R2 throws at what is no list of tags.
  if (/^\s*(\*|(W\/)?"[^"]*"(\s*,\s*(W\/)?"[^"]*")*)\s*$/.test(request.headers.get("If-None-Match") ?? "")) {
    names.push("If-None-Match");
  }
  // If-Range asks for the whole where anything has changed. The whole is never wrong.
  if (!request.headers.has("If-Range") && request.method === "GET") names.push("Range");
  return new Headers(
    names.flatMap((name) => {
      const value = request.headers.get(name);
      return value === null ? [] : [[name, value]];
    }),
  );
}

/** The answer when the cache has none. */
async function find(
  request: Request,
  env: Env,
  ctx: ExecutionContext,
  wish: Wish,
  conditions: Headers,
): Promise<Response> {
  const entry = await readEntry(env, wish.id);
  if (entry === null) throw notFound();
  const { stored, wanted } = resolve(entry, wish);
  const ordered = orderKey(wanted);
  const send = (key: string, cacheControl: string, from: string) =>
    fromBucket(env, key, conditions, wish.auto, cacheControl, from);

  const there = (stored && (await send(stored, immutable, "r2"))) || (await send(ordered, immutable, "r2"));
  if (there) return there;
  const failure = await make(request, env, ctx, wanted);
  // Also after a failure: an equal order elsewhere may have been quicker, and
  // have taken the daemon's file away.
  const made = await send(ordered, immutable, "optimizer");
  if (made) return made;
  for (const key of larger(entry, wish, wanted.width)) {
    const standIn = await send(key, brief, "fallback");
    if (standIn) return standIn;
  }
  if (failure === null || failure.permanent) {
    throw new Problem(404, "not_stored", "The image is not there in this size, format or quality.");
  }
  throw new Problem(503, "optimizer_unavailable", "The image cannot be made in this size, format or quality now.", {
    "Retry-After": String(failure.retryAfter ?? 30),
  });
}

/** From KV, or where it may not have arrived yet, from the state. */
async function readEntry(env: Env, id: string): Promise<ImageEntry | null> {
  const entry = await env.META.get<ImageEntry>(entryKey(id), "json");
  if (entry) return entry;
  const state = await readImage(env, id);
  return state?.status === "done" ? describe(state.manifest) : null;
}

/** Which file of this image is meant: its key if the ladder has it, and how it would be ordered. */
function resolve(
  entry: ImageEntry,
  { id, width: asked, formats, quality, auto }: Wish,
): { stored: string | null; wanted: Order } {
  const width = snap(Object.values(entry.formats).flat(), asked);
  const has = (format: Format) => entry.formats[format]?.includes(width) ?? false;
  // Of what a browser takes, auto sends what is there. It orders no AVIF, the
  // most work of all, of a site that makes none.
  const [first = "jpeg"] = auto ? formats.filter((format) => entry.formats[format]) : formats;
  const format = (auto && formats.find(has)) || first;
  const stored = quality === "medium" && has(format) ? `${id}/${width}.${extensions[format]}` : null;
  return { stored, wanted: { id, width, format, quality } };
}

/** What may stand in: no smaller than what is missing, the nearest first. */
function larger({ id, formats }: ImageEntry, wish: Wish, width: number): string[] {
  return wish.formats
    .flatMap((format) => (formats[format] ?? []).map((rung) => ({ rung, key: `${id}/${rung}.${extensions[format]}` })))
    .filter(({ rung }) => rung >= width)
    .sort((a, b) => a.rung - b.rung)
    .map(({ key }) => key)
    .slice(0, 3);
}

/** Has the daemon make it. Null is success. */
async function make(request: Request, env: Env, ctx: ExecutionContext, wanted: Order): Promise<OptimizerError | null> {
  if (!env.ON_DEMAND || env.DELETE_AFTER_PULL) return new OptimizerError(0, "not_found", "Nothing is made on demand.");
  // KV knows of a deletion up to a minute late.
  if ((await readImage(env, wanted.id))?.status !== "done")
    return new OptimizerError(0, "not_found", "It was deleted.");
  const { success } = await env.ORDERS.limit({ key: request.headers.get("CF-Connecting-IP") ?? "" });
  if (!success) return new OptimizerError(429, "too_many_orders", "Too many orders from one address.", 60);
  const made = order(env, wanted).then(
    () => null,
    (error: unknown) =>
      error instanceof OptimizerError ? error : new OptimizerError(0, "storage_failed", String(error)),
  );
  // What the daemon has begun is brought home even if the reader has left.
  ctx.waitUntil(made);
  return made;
}

/** The object as the request wants it, or null if there is none. */
async function fromBucket(
  env: Env,
  key: string,
  conditions: Headers,
  auto: boolean,
  cacheControl: string,
  from: string,
): Promise<Response | null> {
  const object = await env.IMAGES.get(key, { onlyIf: conditions, range: conditions });
  if (object === null) return null;
  const headers = new Headers({
    "Accept-Ranges": "bytes",
    "Cache-Control": cacheControl,
    ETag: object.httpEtag,
    "Last-Modified": object.uploaded.toUTCString(),
    "X-Content-Type-Options": "nosniff",
    "X-From": from,
  });
  if (auto) headers.set("Vary", "Accept");
  if (!("body" in object)) return new Response(null, { status: 304, headers });
  headers.set("Content-Type", object.httpMetadata?.contentType ?? "application/octet-stream");
  const { size } = object;
  const part = partOf(object);
  if (part === null) {
    // R2 gives the whole for a range that it cannot satisfy, too.
    const [, begin] = /^bytes=(\d+)-\d*$/.exec(conditions.get("Range") ?? "") ?? [];
    if (begin !== undefined && Number(begin) >= size) {
      await object.body.cancel();
      headers.delete("Content-Type");
      headers.set("Cache-Control", "no-store");
      headers.set("Content-Range", `bytes */${size}`);
      return new Response(null, { status: 416, headers });
    }
    headers.set("Content-Length", String(size));
    return new Response(object.body, { headers });
  }
  headers.set("Content-Length", String(part.length));
  headers.set("Content-Range", `bytes ${part.offset}-${part.offset + part.length - 1}/${size}`);
  return new Response(object.body, { status: 206, headers });
}

/** Which part of the object its body is; null if it is all of it. */
function partOf({ range, size }: R2Object): { offset: number; length: number } | null {
  // Some of them may be there and undefined.
  const {
    suffix,
    offset = suffix === undefined ? 0 : Math.max(size - suffix, 0),
    length = size - offset,
  } = (range ?? {}) as {
    offset?: number;
    length?: number;
    suffix?: number;
  };
  return length === size ? null : { offset, length };
}

/** Without its body, if the request wants none. */
async function asAsked(request: Request, response: Response): Promise<Response> {
  if (request.method !== "HEAD") return response;
  await response.body?.cancel();
  return new Response(null, response);
}

function notFound(): Problem {
  return new Problem(404, "not_found", "There is no such image.");
}
