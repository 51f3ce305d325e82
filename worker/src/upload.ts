// Uploads: an image is streamed to the daemon, and the result is written to the
// state.

import type { Job, Upload, UploadAccepted } from "./api";
import { requireOwner } from "./auth";
import type { Env } from "./env";
import { idPattern } from "./files";
import { Problem, json } from "./http";
import { describe, imageOf } from "./image";
import { OptimizerError, getJob, postImage } from "./optimizer";
import { begin } from "./pull";
import { type ImageState, type UploadState, createUpload, readImage, readUpload, writeUpload } from "./state";

const jobPattern = /^job_[0-9a-z]{26}$/;

/** Seconds until the first poll if no webhook has arrived; doubled each time. */
const firstPoll = 60;
const longestPoll = 60 * 60;
/** As long as the daemon retries its webhook. */
const pollFor = 24 * 60 * 60;

/** POST /api/images?filename= */
export async function postUpload(request: Request, env: Env): Promise<Response> {
  await requireOwner(request, env);
  const url = new URL(request.url);
  const length = request.headers.get("Content-Length");
  // Before the request to the daemon: a response that is sent while the body is
  // still being uploaded can get lost.
  if (length === null || request.body === null) {
    throw new Problem(411, "length_required", "The request must have a Content-Length.");
  }
  if (Number(length) > env.MAX_UPLOAD_BYTES) {
    throw new Problem(413, "too_large", `The image must be at most ${env.MAX_UPLOAD_BYTES} bytes.`);
  }
  const query = new URLSearchParams();
  const filename = url.searchParams.get("filename");
  if (filename) query.set("filename", filename);
  if (env.WEBHOOK_SECRET) query.set("webhook_url", `${(env.PUBLIC_URL || url.origin).replace(/\/+$/, "")}/api/webhook`);

  const since = new Date().toISOString();
  const answer = await postImage(env, request.body, query);
  if (!("object" in answer)) {
    // The daemon already has this image.
    const status = await begin(env, answer, since);
    return accepted(answer.id, status);
  }
  await createUpload(env, answer.id, { image: null, error: null, created_at: since });
  await pollIn(env, firstPoll, answer.id, 1);
  return accepted(answer.id, "storing");
}

function accepted(upload: string, image: ImageState["status"]): Response {
  const done = image === "done";
  return json({ upload, status: done ? "done" : "working" } satisfies UploadAccepted, done ? 200 : 202);
}

/** GET /api/uploads/{id} */
export async function getUpload(request: Request, env: Env, id: string): Promise<Response> {
  await requireOwner(request, env);
  const missing = new Problem(404, "not_found", "There is no such upload.");
  let image = id;
  if (jobPattern.test(id)) {
    const state = await readUpload(env, id);
    if (state === null) throw missing;
    if (state.error !== null) return json(report(id, "failed", { error: state.error }));
    if (state.image === null) return json(report(id, "working"));
    image = state.image;
  } else if (!idPattern.test(id)) {
    throw missing;
  }
  const state = await readImage(env, image);
  if (state === null) throw missing;
  return json(reportImage(id, state));
}

function report(upload: string, status: Upload["status"], more: Partial<Upload> = {}): Upload {
  return { upload, status, stored: 0, total: 0, image: null, error: null, ...more };
}

function reportImage(upload: string, state: ImageState): Upload {
  if (state.status === "deleted") {
    return report(upload, "failed", { error: { code: "deleted", message: "The image was deleted." } });
  }
  const total = state.manifest.variants.length;
  if (state.status === "done") {
    return report(upload, "done", { stored: total, total, image: imageOf(describe(state.manifest)) });
  }
  const error = state.status === "failed" ? state.error : null;
  return report(upload, state.status, { stored: state.stored, total, error });
}

/**
 * Applies the end of a job to its upload. The image of an unknown upload (whose
 * response was lost, for example) is stored as well.
 */
export async function jobEnded(env: Env, job: Job): Promise<void> {
  const known = await readUpload(env, job.id);
  const since = known?.created_at ?? job.created_at;
  const end = (state: Partial<UploadState>) =>
    writeUpload(env, job.id, { image: null, error: null, created_at: since, ...state });
  if (job.status === "failed") {
    await end({ error: job.error ?? { code: "internal", message: "The optimizer gave no reason." } });
    return;
  }
  if (job.output === null) {
    await end({ error: { code: "deleted", message: "The image was deleted." } });
    return;
  }
  if (!("manifest" in job.output)) return; // a job for a single variant, not an upload
  const { manifest } = job.output;
  try {
    await begin(env, manifest, since);
  } catch (error) {
    if (!(error instanceof OptimizerError && error.code === "bad_manifest")) throw error;
    await end({ error: { code: error.code, message: error.detail } }); // retrying cannot help
    return;
  }
  if (known?.image !== manifest.id) await end({ image: manifest.id });
}

/** The safety net: polls a job whose webhook may never arrive. */
export async function poll(env: Env, upload: string, attempt: number): Promise<void> {
  const state = await readUpload(env, upload);
  if (state === null || state.image !== null || state.error !== null) return;
  const fail = (code: string, message: string) => writeUpload(env, upload, { ...state, error: { code, message } });
  try {
    const job = await getJob(env, upload);
    if (job.status === "completed" || job.status === "failed") {
      await jobEnded(env, job);
      return;
    }
  } catch (error) {
    if (!(error instanceof OptimizerError)) throw error;
    if (error.code === "not_found") {
      await fail("not_found", "The optimizer no longer has this upload; send the image again.");
      return;
    }
    if (Date.now() - Date.parse(state.created_at) > pollFor * 1000) {
      await fail(error.code, "The optimizer was unreachable for a day; send the image again.");
      return;
    }
  }
  await pollIn(env, Math.min(firstPoll * 2 ** attempt, longestPoll), upload, attempt + 1);
}

async function pollIn(env: Env, delaySeconds: number, upload: string, attempt: number): Promise<void> {
  await env.WORK.send({ kind: "poll", upload, attempt }, { delaySeconds });
}
