// GET /images/{id}?w=&f=&q=: from the edge's cache, then R2, then the daemon.

import type { Format } from "./api";
import type { Env } from "./env";
import { extensions, idPattern } from "./files";
import { Problem } from "./http";
import { type ImageEntry, describe, entryKey } from "./image";
import { OptimizerError } from "./optimizer";
import { type StoredVariant, type Quality, qualities, requestVariant, variantKey } from "./variant";
import { readImage } from "./state";

const maxWidth = 2048;
/** In order of preference: the first one a browser accepts is the smallest. */
const byPreference = ["avif", "webp", "jpeg"] as const satisfies Format[];

/** The requested variant, from the URL and the Accept header. */
interface VariantRequest {
  id: string;
  /** A configured width. */
  width: number;
  /** The acceptable formats, best first. */
  formats: Format[];
  quality: Quality;
  /** Whether formats is derived from Accept. */
  auto: boolean;
}

/** Browsers cache it forever, the edge for a day, so that deleted images disappear. */
const immutable = "public, max-age=31536000, s-maxage=86400, immutable";
/** For fallbacks and for missing files. */
const brief = "public, max-age=60";

export async function deliver(request: Request, env: Env, ctx: ExecutionContext, id: string): Promise<Response> {
  const url = new URL(request.url);
  const asked = parseRequest(url, request.headers.get("Accept") ?? "", env, id);
  const cacheKey = cacheKeyOf(url.origin, asked);
  const conditions = conditionsOf(request);

  const cached = await caches.default.match(new Request(cacheKey, { headers: conditions }));
  if (cached) {
    const hit = new Response(cached.body, cached);
    hit.headers.set("X-From", "cache");
    return asAsked(request, hit);
  }
  const answer = await find(request, env, ctx, asked, conditions);
  if (answer.status === 200 && request.method === "GET") ctx.waitUntil(caches.default.put(cacheKey, answer.clone()));
  return asAsked(request, answer);
}

function parseRequest(url: URL, accept: string, env: Env, id: string): VariantRequest {
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

/** The next larger width, or the largest. */
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
 * The cache key of a response. The cache ignores request headers, so what
 * Accept decides must be part of the URL.
 */
function cacheKeyOf(origin: string, { id, width, formats, quality, auto }: VariantRequest): string {
  return `${origin}/images/${id}?w=${width}&f=${auto ? "auto." : ""}${formats.join(".")}&q=${quality}`;
}

/**
 * The headers that select the complete image, a range, or 304. If-Match and
 * similar headers only matter for writes.
 */
function conditionsOf(request: Request): Headers {
  const names = ["If-Modified-Since"];
  // R2 throws on an invalid list of tags.
  if (/^\s*(\*|(W\/)?"[^"]*"(\s*,\s*(W\/)?"[^"]*")*)\s*$/.test(request.headers.get("If-None-Match") ?? "")) {
    names.push("If-None-Match");
  }
  // If-Range requests the complete file if anything changed; that is always
  // correct.
  if (!request.headers.has("If-Range") && request.method === "GET") names.push("Range");
  return new Headers(
    names.flatMap((name) => {
      const value = request.headers.get(name);
      return value === null ? [] : [[name, value]];
    }),
  );
}

/** Makes the response on a cache miss. */
async function find(
  request: Request,
  env: Env,
  ctx: ExecutionContext,
  asked: VariantRequest,
  conditions: Headers,
): Promise<Response> {
  const entry = await readEntry(env, asked.id);
  if (entry === null) throw notFound();
  const { stored, wanted } = resolve(entry, asked);
  const onDemandKey = variantKey(wanted);
  const send = (key: string, cacheControl: string, from: string) =>
    fromBucket(env, key, conditions, asked.auto, cacheControl, from);

  const there = (stored && (await send(stored, immutable, "r2"))) || (await send(onDemandKey, immutable, "r2"));
  if (there) return there;
  const failure = await make(request, env, ctx, wanted);
  // Even after a failure: an equal request elsewhere may have been faster and
  // deleted the daemon's copy.
  const made = await send(onDemandKey, immutable, "optimizer");
  if (made) return made;
  for (const key of larger(entry, asked, wanted.width)) {
    const standIn = await send(key, brief, "fallback");
    if (standIn) return standIn;
  }
  if (failure === null || failure.permanent) {
    throw new Problem(404, "not_stored", "The image does not exist in this size, format or quality.");
  }
  throw new Problem(
    503,
    "optimizer_unavailable",
    "The image cannot be made in this size, format or quality now; try again later.",
    {
      "Retry-After": String(failure.retryAfter ?? 30),
    },
  );
}

/** Reads from KV or, before the entry has propagated, from the state. */
async function readEntry(env: Env, id: string): Promise<ImageEntry | null> {
  const entry = await env.META.get<ImageEntry>(entryKey(id), "json");
  if (entry) return entry;
  const state = await readImage(env, id);
  return state?.status === "done" ? describe(state.manifest) : null;
}

/** Selects the file: its key if the ladder has it, and the variant to request otherwise. */
function resolve(
  entry: ImageEntry,
  { id, width: askedWidth, formats, quality, auto }: VariantRequest,
): { stored: string | null; wanted: StoredVariant } {
  const width = snap(Object.values(entry.formats).flat(), askedWidth);
  const has = (format: Format) => entry.formats[format]?.includes(width) ?? false;
  // auto sends what is stored. It never requests AVIF, the most expensive
  // format, for a site without AVIF.
  const [first = "jpeg"] = auto ? formats.filter((format) => entry.formats[format]) : formats;
  const format = (auto && formats.find(has)) || first;
  const stored = quality === "medium" && has(format) ? `${id}/${width}.${extensions[format]}` : null;
  return { stored, wanted: { id, width, format, quality } };
}

/** Returns fallbacks: no smaller than the missing file, the nearest first. */
function larger({ id, formats }: ImageEntry, asked: VariantRequest, width: number): string[] {
  return asked.formats
    .flatMap((format) => (formats[format] ?? []).map((rung) => ({ rung, key: `${id}/${rung}.${extensions[format]}` })))
    .filter(({ rung }) => rung >= width)
    .sort((a, b) => a.rung - b.rung)
    .map(({ key }) => key)
    .slice(0, 3);
}

/** Requests the variant from the daemon. Null means success. */
async function make(
  request: Request,
  env: Env,
  ctx: ExecutionContext,
  wanted: StoredVariant,
): Promise<OptimizerError | null> {
  if (!env.ON_DEMAND || env.DELETE_AFTER_PULL)
    return new OptimizerError(0, "not_found", "Variants on demand are disabled.");
  // KV may show a deleted image for up to a minute.
  if ((await readImage(env, wanted.id))?.status !== "done")
    return new OptimizerError(0, "not_found", "The image was deleted.");
  const { success } = await env.ORDERS.limit({ key: request.headers.get("CF-Connecting-IP") ?? "" });
  if (!success)
    return new OptimizerError(429, "too_many_orders", "Too many new variants requested from one address.", 60);
  const made = requestVariant(env, wanted).then(
    () => null,
    (error: unknown) =>
      error instanceof OptimizerError ? error : new OptimizerError(0, "storage_failed", String(error)),
  );
  // Finish what the daemon has begun even if the client disconnects.
  ctx.waitUntil(made);
  return made;
}

/** Returns the object according to the request's conditions, or null if it is missing. */
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
    // R2 also returns the complete object for an unsatisfiable range.
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

/** The range of the object in the body; null if the body is complete. */
function partOf({ range, size }: R2Object): { offset: number; length: number } | null {
  // Fields may be present and undefined.
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

/** Drops the body for HEAD. */
async function asAsked(request: Request, response: Response): Promise<Response> {
  if (request.method !== "HEAD") return response;
  await response.body?.cancel();
  return new Response(null, response);
}

function notFound(): Problem {
  return new Problem(404, "not_found", "There is no such image.");
}
