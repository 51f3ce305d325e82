// Uploads: the bytes are kept in R2 (see source.ts) before the client gets its
// answer, in one request or, for large files, in parts that can be sent again.

import type { Upload, UploadAccepted, UploadParts } from "./api";
import { requireMember } from "./auth";
import { parseDigest } from "./digest";
import type { Env } from "./env";
import { Problem, json, parseJSON, readText, siteOf } from "./http";
import { describe, imageOf } from "./image";
import { advance, handOver, idPrefix, isExpired, newUpload, retry } from "./inbox";
import { lostWith, sendAgain } from "./source";
import {
  type ImageState,
  type UploadState,
  changeUpload,
  createUpload,
  inboxKey,
  readUpload,
  resolveImage,
} from "./state";

const idPattern = /^up_[0-9a-z]{25}$/;
const missing = () => new Problem(404, "not_found", "There is no such upload.");

/** Every part but the last. R2 requires at least 5 MiB. */
const partBytes = 8 << 20;
const maxBody = 64 << 10;
const maxFilename = 255;

function newId(): string {
  return idPrefix(Date.now()) + crypto.randomUUID().replaceAll("-", "").slice(0, 16);
}

/** POST /api/images?filename= */
export async function postUpload(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  await requireMember(request, env);
  const length = request.headers.get("Content-Length");
  // Before the body is read: a response that is sent while it is still being
  // uploaded can get lost.
  if (length === null || request.body === null) {
    throw new Problem(411, "length_required", "The request must have a Content-Length.");
  }
  const bytes = checkSize(env, Number(length));
  const sha256 = parseDigest(request.headers.get("Content-Digest"));
  if (sha256 === undefined) {
    throw new Problem(400, "invalid_request", "Content-Digest must be sha-256=:…: with the digest in base64.");
  }
  const filename = (new URL(request.url).searchParams.get("filename") ?? "").slice(0, maxFilename);
  const id = newId();
  await env.IMAGES.put(inboxKey(id), request.body, sha256 === null ? {} : { sha256 }).catch(asProblem);
  await createUpload(env, id, newUpload({ filename, bytes, sha256, site: siteOf(request, env), multipart: null }));
  ctx.waitUntil(handOver(env, id));
  return accepted(id);
}

/** R2 refuses bytes with another digest (10037), and stores nothing of a body that was cut off. */
function asProblem(error: unknown): never {
  if (String(error).includes("10037")) {
    throw new Problem(400, "digest_mismatch", "The bytes do not have the digest of Content-Digest; send them again.");
  }
  throw error;
}

function checkSize(env: Env, bytes: number): number {
  if (bytes > env.MAX_UPLOAD_BYTES) {
    throw new Problem(413, "too_large", `The image must be at most ${env.MAX_UPLOAD_BYTES} bytes.`);
  }
  return bytes;
}

function accepted(upload: string): Response {
  return json({ upload, status: "saved" } satisfies UploadAccepted, 202);
}

/** POST /api/uploads {"filename", "bytes"}: starts an upload in parts. */
export async function postParts(request: Request, env: Env): Promise<Response> {
  await requireMember(request, env);
  const body = await readJSON(request);
  if (typeof body["bytes"] !== "number" || !Number.isInteger(body["bytes"]) || body["bytes"] < 1) {
    throw new Problem(400, "invalid_request", 'The body must be {"filename": "…", "bytes": n}.');
  }
  const bytes = checkSize(env, body["bytes"]);
  const filename = typeof body["filename"] === "string" ? body["filename"].slice(0, maxFilename) : "";
  const id = newId();
  const { uploadId } = await env.IMAGES.createMultipartUpload(inboxKey(id));
  await createUpload(
    env,
    id,
    newUpload({ filename, bytes, sha256: null, site: siteOf(request, env), multipart: uploadId }),
  );
  return json({ upload: id, part_bytes: partBytes, parts: partsOf(bytes) } satisfies UploadParts, 201);
}

function partsOf(bytes: number): number {
  return Math.ceil(bytes / partBytes);
}

/** PUT /api/uploads/{id}/{part}: part is counted from 1. A part may be sent again. */
export async function putPart(request: Request, env: Env, id: string, part: string): Promise<Response> {
  await requireMember(request, env);
  const { multipart, bytes } = await openParts(env, id);
  const number = Number(part);
  const parts = partsOf(bytes);
  if (number > parts) throw new Problem(400, "invalid_request", `This upload has ${parts} parts.`);
  const expected = number < parts ? partBytes : bytes - (parts - 1) * partBytes;
  if (request.headers.get("Content-Length") !== String(expected) || request.body === null) {
    throw new Problem(400, "invalid_request", `Part ${number} must have ${expected} bytes, and a Content-Length.`);
  }
  const upload = env.IMAGES.resumeMultipartUpload(inboxKey(id), multipart);
  const { etag } = await upload.uploadPart(number, request.body).catch((error: unknown) => {
    if (String(error).includes("10024")) throw missing(); // R2 deletes unfinished ones after a week
    throw error;
  });
  return json({ part: number, etag });
}

/** POST /api/uploads/{id} {"etags": ["…", …]}: completes an upload in parts. */
export async function completeParts(request: Request, env: Env, ctx: ExecutionContext, id: string): Promise<Response> {
  await requireMember(request, env);
  const { etags } = await readJSON(request);
  const state = idPattern.test(id) ? await readUpload(env, id) : null;
  // The response to an earlier completion was lost.
  if (state !== null && state.multipart === null) return accepted(id);
  const { multipart, bytes } = await openParts(env, id);
  if (!isTexts(etags) || etags.length !== partsOf(bytes)) {
    throw new Problem(400, "invalid_request", 'The body must be {"etags": […]}, the etag of each part in order.');
  }
  try {
    await env.IMAGES.resumeMultipartUpload(inboxKey(id), multipart).complete(
      etags.map((etag, i) => ({ partNumber: i + 1, etag })),
    );
  } catch {
    // If the image is there, an earlier request has died after it completed the upload.
    if ((await env.IMAGES.head(inboxKey(id))) === null) {
      throw new Problem(409, "parts_missing", "The parts do not match these etags; send the image again.");
    }
  }
  await changeUpload(env, id, (before) => ({ ...before, multipart: null }));
  ctx.waitUntil(handOver(env, id));
  return accepted(id);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

async function openParts(env: Env, id: string): Promise<{ multipart: string; bytes: number }> {
  const state = idPattern.test(id) ? await readUpload(env, id) : null;
  if (state === null || state.multipart === null) throw missing();
  return { multipart: state.multipart, bytes: state.bytes };
}

async function readJSON(request: Request): Promise<Record<string, unknown>> {
  const body = parseJSON((await readText(request, maxBody)) ?? "");
  if (typeof body !== "object" || body === null) {
    throw new Problem(400, "invalid_request", "The body must be a JSON object.");
  }
  return body as Record<string, unknown>;
}

/** GET /api/uploads/{id}: also asks the daemon, so that no page has to wait for a webhook or a tick. */
export async function getUpload(request: Request, env: Env, id: string): Promise<Response> {
  await requireMember(request, env);
  if (!idPattern.test(id)) throw missing();
  const state = await readUpload(env, id);
  return report(env, id, state !== null && isExpired(state) ? state : await advance(env, id));
}

/** POST /api/uploads/{id}/retry: once more, however long the upload has waited. */
export async function retryUpload(request: Request, env: Env, id: string): Promise<Response> {
  await requireMember(request, env);
  if (!idPattern.test(id)) throw missing();
  return report(env, id, await retry(env, id));
}

async function report(env: Env, upload: string, state: UploadState | null): Promise<Response> {
  if (state === null || state.multipart !== null) throw missing();
  const { duplicate, error } = state;
  const upto = (status: Upload["status"], more: Partial<Upload> = {}) =>
    json({ upload, status, stored: 0, total: 0, image: null, duplicate, error: null, ...more } satisfies Upload);
  if (error !== null) return upto("failed", { error });
  if (state.image !== null) {
    const image = await resolveImage(env, state.image);
    if (!lostWith(image.state).includes(upload)) return upto(...progressOf(image));
    return report(env, upload, await sendAgain(env, upload, state.image));
  }
  if (isExpired(state)) return upto("failed", { error: expired });
  if (state.job === null) return upto("saved", { error: state.reason });
  return upto("working");
}

const expired = {
  code: "optimizer_unavailable",
  message: "The optimizer was out of reach for 14 days. The image is still saved: try again when it is back.",
};
const deleted = { code: "deleted", message: "The image was deleted." };

function progressOf({ id, state }: { id: string; state: ImageState | null }): [Upload["status"], Partial<Upload>] {
  if (state === null || state.status === "trashed" || !("manifest" in state)) return ["failed", { error: deleted }];
  const total = state.manifest.variants.length;
  if (state.status === "done")
    return ["done", { stored: total, total, image: imageOf(describe(state.manifest, state.words, id)) }];
  return [state.status, { stored: state.stored, total, error: state.status === "failed" ? state.error : null }];
}
