// GET /images/{id}?w=&f=&q=: from the edge's cache, then R2, then the daemon.

import type { Format } from "./api";
import { isOwner } from "./auth";
import type { Env } from "./env";
import { idPattern } from "./files";
import { Problem } from "./http";
import { type ImageEntry, describe, entryKey, setOf } from "./image";
import { isWithin } from "./limits";
import { deletesCopies } from "./pull";
import { tagged } from "./purge";
import { OptimizerError } from "./optimizer";
import { type StoredVariant, type Quality, qualities, requestVariant, variantKey } from "./variant";
import { readImage, resolveImage } from "./state";

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
/** For fallbacks while the variant cannot be made for anybody. */
const brief = "public, max-age=60";
/** For fallbacks because it is not made for this visitor: others may get the variant itself. */
const personal = "private, max-age=60";

export async function deliver(request: Request, env: Env, ctx: ExecutionContext, id: string): Promise<Response> {
  const url = new URL(request.url);
  const asked = parseRequest(url, request.headers.get("Accept") ?? "", env, id);
  const cacheKey = cacheKeyOf(url.origin, asked);
  const conditions = conditionsOf(request);

  const shared = env.PRIVATE ? null : caches.default;
  const cached = await shared?.match(new Request(cacheKey, { headers: conditions }));
  if (cached) {
    const hit = new Response(cached.body, cached);
    hit.headers.set("X-From", "cache");
    hit.headers.delete("Cache-Tag");
    return hit;
  }
  const answer = await find(request, env, ctx, asked, conditions);
  if (shared && answer.status === 200 && request.method === "GET" && answer.headers.get("Cache-Control") !== personal) {
    ctx.waitUntil(shared.put(cacheKey, tagged(answer.clone(), id)));
  }
  return answer;
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
  const names: string[] = [];
  // R2 throws on an invalid list of tags. A time only counts without one.
  if (/^\s*(\*|(W\/)?"[^"]*"(\s*,\s*(W\/)?"[^"]*")*)\s*$/.test(request.headers.get("If-None-Match") ?? "")) {
    names.push("If-None-Match");
  } else {
    names.push("If-Modified-Since");
  }
  // One range: not everything that answers knows how to send several. If-Range
  // requests the complete file if anything changed. The whole is always correct.
  const range = /^bytes=(\d+-\d*|-\d+)$/.test(request.headers.get("Range") ?? "");
  if (range && !request.headers.has("If-Range") && request.method === "GET") names.push("Range");
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
  let entry = await readEntry(env, asked.id);
  if (entry === null) throw notFound();
  let { stored, wanted } = resolve(entry, asked);
  const send = (key: string, cacheControl: string, from: string) =>
    fromBucket(env, key, conditions, asked.auto, cacheControl, from);

  let there = stored && (await send(stored, immutable, "r2"));
  if (stored && !there) {
    // KV may be a minute behind a change of the files.
    const current = await currentEntry(env, asked.id);
    if (current && setOf(current) !== setOf(entry)) {
      entry = current;
      ({ stored, wanted } = resolve(entry, asked));
      there = stored && (await send(stored, immutable, "r2"));
    }
  }
  const onDemandKey = variantKey(wanted);
  there ||= await send(onDemandKey, immutable, "r2");
  if (there) return there;
  const objection = await objectionTo(request, env, entry, wanted);
  const failure = objection?.error ?? (await make(env, ctx, wanted));
  // Even after a failure: an equal request elsewhere may have been faster and
  // deleted the daemon's copy.
  const made = await send(onDemandKey, immutable, "optimizer");
  if (made) return made;
  for (const key of larger(entry, asked, wanted.width)) {
    const standIn = await send(key, objection?.personal ? personal : brief, "fallback");
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

/**
 * Reads from KV or, before the entry has propagated, or if KV fails, from the state, which
 * also knows at once what is deleted.
 */
async function readEntry(env: Env, id: string): Promise<ImageEntry | null> {
  const inKV = env.META.get<ImageEntry>(entryKey(id), "json").catch((error: unknown) => {
    console.error(error);
    return null;
  });
  const [entry, current] = await Promise.all([inKV, resolveImage(env, id)]);
  if (current.state?.status === "trashed" || current.state?.status === "deleted") return null;
  return entry ?? entryOf(current);
}

async function currentEntry(env: Env, id: string): Promise<ImageEntry | null> {
  return entryOf(await resolveImage(env, id));
}

function entryOf({ id, state }: Awaited<ReturnType<typeof resolveImage>>): ImageEntry | null {
  return state?.status === "done" ? describe(state.manifest, state.words, id) : null;
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
  let choices = auto ? formats.filter((format) => entry.formats[format]) : formats;
  const remade = setOf(entry) !== entry.id || entry.id !== id;
  if (remade && !formats.some((format) => entry.formats[format])) {
    // A link from before a remake, to a format that the image has no more.
    const at = byPreference.indexOf(formats[0] ?? "jpeg");
    choices = byPreference.slice(at).filter((format) => entry.formats[format]);
  }
  const [first = "jpeg"] = choices;
  const format = (auto && formats.find(has)) || first;
  const file = entry.files.find((one) => one.width === width && one.format === format);
  const stored = quality === "medium" && file ? file.key : null;
  return { stored, wanted: { id: entry.id, set: setOf(entry), width, format, quality } };
}

/** Returns fallbacks: no smaller than the missing file, the nearest first. */
function larger({ files }: ImageEntry, asked: VariantRequest, width: number): string[] {
  return asked.formats
    .flatMap((format) => files.filter((file) => file.format === format && file.width >= width))
    .sort((a, b) => a.width - b.width)
    .map(({ key }) => key)
    .slice(0, 3);
}

/** Why a variant is not requested from the daemon. */
interface Objection {
  error: OptimizerError;
  /** Whether another request for the same variant may be granted. */
  personal: boolean;
}

/**
 * Decides whether this request may have a variant made. The daemon is small, and
 * visitors are anonymous: what they can order is bounded by the ladder, and how
 * fast by two rate limits.
 */
async function objectionTo(
  request: Request,
  env: Env,
  entry: ImageEntry,
  wanted: StoredVariant,
): Promise<Objection | null> {
  const missing = (detail: string, personal = false) => ({
    error: new OptimizerError(0, "not_found", detail),
    personal,
  });
  if (!env.ON_DEMAND || deletesCopies(env)) return missing("Variants on demand are disabled.");
  if (!entry.formats[wanted.format]) return missing("The image is not made in this format.");
  // A HEAD request shows nothing of what it would make.
  if (request.method === "HEAD") {
    return {
      error: new OptimizerError(0, "not_made", "The variant is made when it is requested with GET."),
      personal: true,
    };
  }
  // KV may show a deleted image for up to a minute.
  if ((await readImage(env, wanted.id))?.status !== "done") return missing("The image was deleted.");
  if (await isOwner(request, env)) return null;
  if (wanted.quality !== "medium" && !env.VISITOR_QUALITIES) {
    return missing("Other qualities are only made for the owner.", true);
  }
  // In this order: who is over their own limit must not use up that of all.
  if ((await isWithin(env.ORDERS, request)) && (await env.ALL_ORDERS.limit({ key: "all" })).success) return null;
  return {
    error: new OptimizerError(429, "too_many_orders", "Too many new variants were requested.", 60),
    personal: true,
  };
}

/** Requests the variant from the daemon. Null means success. */
async function make(env: Env, ctx: ExecutionContext, wanted: StoredVariant): Promise<OptimizerError | null> {
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

function notFound(): Problem {
  return new Problem(404, "not_found", "There is no such image.");
}
