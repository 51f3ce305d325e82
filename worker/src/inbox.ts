// Uploads on their way to the daemon. Their bytes are in R2 (inbox/) from the
// answer to the client until the image is made, so the daemon may be off, busy or
// slow. Whoever looks at an upload moves it on: the request that brought it, a page
// that asks for its status, and tick(), every few minutes.

import type { Job } from "./api";
import type { Env } from "./env";
import { deleteStaleCopy, hasLeftovers, purgeAgain } from "./leftovers";
import { OptimizerError, getJob, isReachable, postImage } from "./optimizer";
import { begin } from "./pull";
import { resumeRemake, waitingRemake } from "./remake";
import { type UploadState, changeUpload, inboxKey, readUpload } from "./state";
import { hasExpired } from "./trash";

/** An attempt that has not ended by then has died, ms. */
const attemptTime = 6 * 60_000;
/** Waits after failed attempts: doubled from the first to the longest, ms. */
const firstWait = 5_000;
const longestWait = 5 * 60_000;
/** How long the daemon may be out of reach, ms. After that the bytes are still kept. */
const patience = 14 * 24 * 60 * 60_000;
/** A request that has just brought an upload hands it over itself, ms. */
const fresh = 60_000;
/** Uploads per message: at most 20 requests of an invocation. */
const chunk = 2;

/** Statuses of refusals that another attempt cannot change. */
const permanentStatuses = [400, 413, 415, 422];

/** How the id of an upload begins: by time, so that the oldest is the first of a listing. */
export function idPrefix(ms: number): string {
  return `up_${ms.toString(36).padStart(9, "0")}`;
}

/** The state of a new upload, which belongs to its request until that has handed it over. */
export function newUpload(
  upload: Pick<UploadState, "filename" | "bytes" | "sha256" | "site" | "multipart">,
): UploadState {
  const now = Date.now();
  return {
    ...upload,
    created_at: new Date(now).toISOString(),
    attempts: 0,
    next_at: now,
    reason: null,
    job: null,
    image: null,
    duplicate: false,
    error: null,
  };
}

/** Whether nobody waits for the daemon any more; retry() does once more. */
export function isExpired(state: UploadState): boolean {
  return isOpen(state) && Date.now() - Date.parse(state.created_at) > patience;
}

function isOpen({ multipart, image, error }: UploadState): boolean {
  return multipart === null && image === null && error === null;
}

/** Moves an upload on, if it can be now. Returns its state; null if there is no such upload. */
export async function advance(env: Env, id: string): Promise<UploadState | null> {
  const state = await readUpload(env, id);
  return state === null || !isOpen(state) ? state : moveOn(env, id, state);
}

function moveOn(env: Env, id: string, state: UploadState): Promise<UploadState | null> {
  return state.job === null ? handOver(env, id) : followJob(env, id, state, state.job);
}

/** Moves an upload on, however long it has waited and whenever it was tried last. One that has expired begins again. */
export async function retry(env: Env, id: string): Promise<UploadState | null> {
  await changeUpload(env, id, (before) => {
    if (!isOpen(before)) return before;
    const created_at = isExpired(before) ? new Date().toISOString() : before.created_at;
    return { ...before, created_at, next_at: 0 };
  });
  return advance(env, id);
}

/** Sends the bytes to the daemon, unless somebody else is doing that, or it is too early. */
export async function handOver(env: Env, id: string): Promise<UploadState | null> {
  let claimed = false;
  const state = await changeUpload(env, id, (before) => {
    claimed = isOpen(before) && before.job === null && Date.now() >= before.next_at;
    return claimed ? { ...before, attempts: before.attempts + 1, next_at: Date.now() + attemptTime } : before;
  });
  if (state === null || !claimed) return state;
  const source = await env.IMAGES.get(inboxKey(id));
  if (source === null) return fail(env, id, "not_found", "The upload is gone; send the image again.");
  const query = new URLSearchParams();
  if (state.filename) query.set("filename", state.filename);
  if (env.WEBHOOK_SECRET) query.set("webhook_url", `${state.site}/api/webhook?upload=${id}`);
  try {
    const answer = await postImage(env, source.body, state.sha256, query);
    if ("object" in answer) {
      return await changeUpload(env, id, (before) => ({ ...before, job: answer.id, reason: null }));
    }
    // The daemon already has this image, or does not know yet that its files were deleted.
    if (env.DIRECT && (await deleteStaleCopy(env, answer.id))) {
      await changeUpload(env, id, (before) => ({ ...before, next_at: 0 }));
      return await handOver(env, id);
    }
    const status = await begin(env, answer, state.created_at);
    return await end(env, id, { image: answer.id, duplicate: status === "done" });
  } catch (error) {
    if (!(error instanceof OptimizerError)) throw error;
    return notHandedOver(env, id, state.attempts, error);
  }
}

function notHandedOver(env: Env, id: string, attempts: number, error: OptimizerError): Promise<UploadState | null> {
  const { code } = error;
  if (permanentStatuses.includes(error.status) || code === "bad_manifest") return fail(env, id, code, error.detail);
  const wait = Math.min(firstWait * 2 ** (attempts - 1), longestWait);
  const next = Date.now() + Math.max(wait, (error.retryAfter ?? 0) * 1000);
  const reason = { code, message: error.problem().detail };
  return changeUpload(env, id, (before) => ({ ...before, next_at: next, reason }));
}

/** Asks the daemon for the job, in case its webhook does not arrive. */
async function followJob(env: Env, id: string, state: UploadState, job: string): Promise<UploadState | null> {
  try {
    const now = await getJob(env, job);
    if (now.status !== "completed" && now.status !== "failed") return state;
    return await jobEnded(env, now, id);
  } catch (error) {
    if (!(error instanceof OptimizerError)) throw error;
    if (error.code !== "not_found") return state;
    // A daemon with a new disk, for example: it gets the image again.
    return changeUpload(env, id, (before) => (before.job === job ? { ...before, job: null, next_at: 0 } : before));
  }
}

/**
 * Applies the end of a job to its upload. The image of an unknown upload (sent to
 * the daemon by another client, for example) is stored as well.
 */
export async function jobEnded(env: Env, job: Job, upload: string | null): Promise<UploadState | null> {
  const known = upload === null ? null : await readUpload(env, upload);
  const failed = (code: string, message: string) => (upload === null ? null : fail(env, upload, code, message));
  if (known !== null && !isOpen(known)) return known;
  if (job.status === "failed") {
    return failed(job.error?.code ?? "internal", job.error?.message ?? "The optimizer gave no reason.");
  }
  if (job.output === null) return failed("deleted", "The image was deleted.");
  if (!("manifest" in job.output)) return null; // a job for a single variant, not an upload
  const { manifest } = job.output;
  try {
    await begin(env, manifest, known?.created_at ?? job.created_at);
  } catch (error) {
    if (!(error instanceof OptimizerError && error.code === "bad_manifest")) throw error;
    return failed(error.code, error.detail); // retrying cannot help
  }
  return upload === null ? null : end(env, upload, { image: manifest.id });
}

function fail(env: Env, id: string, code: string, message: string): Promise<UploadState | null> {
  return end(env, id, { error: { code, message } });
}

/** Ends an upload, whose bytes are no longer needed. The first end counts. */
async function end(env: Env, id: string, result: Partial<UploadState>): Promise<UploadState | null> {
  const state = await changeUpload(env, id, (before) => (isOpen(before) ? { ...before, ...result } : before));
  await env.IMAGES.delete(inboxKey(id));
  return state;
}

/**
 * Every few minutes: enqueues what has been in the trash for a day and, if the daemon can
 * be reached, what is in the inbox and what the daemon still has to delete. While it cannot
 * be, this costs four R2 operations and one request.
 */
export async function tick(env: Env): Promise<void> {
  // Nothing of the rest may wait for Cloudflare's API.
  await purgeAgain(env).catch(console.error);
  if (await hasExpired(env)) await env.WORK.send({ kind: "trash", after: "" });
  const hasUploads = (await waiting(env, "")).length > 0;
  const hasOthers = await hasLeftovers(env);
  const remake = await waitingRemake(env);
  if (!(hasUploads || hasOthers || remake) || !(await isReachable(env))) return;
  if (hasUploads) await env.WORK.send({ kind: "inbox", after: "" });
  if (hasOthers) await env.WORK.send({ kind: "leftovers", after: "" });
  if (remake) await resumeRemake(env, remake);
}

/** Moves the next uploads of the inbox on, and enqueues the ones after them. */
export async function workInbox(env: Env, after: string): Promise<void> {
  const uploads = await waiting(env, after);
  const last = uploads.at(-1);
  // First: if one of these fails for good, the others must not wait for it.
  if (last !== undefined && uploads.length === chunk) await env.WORK.send({ kind: "inbox", after: last });
  for (const id of uploads) {
    let state = await readUpload(env, id);
    if (state !== null && state.multipart !== null) {
      // All parts are here, but the request that completed them has died before it recorded that.
      state = await changeUpload(env, id, (before) => ({ ...before, multipart: null }));
    }
    if (state !== null && isOpen(state)) await moveOn(env, id, state);
    // It has ended; or its request has died before it answered, and the client will send it again.
    else await env.IMAGES.delete(inboxKey(id));
  }
}

/** The ids of the oldest uploads in the inbox after this one, except those that have just arrived or have expired. */
async function waiting(env: Env, after: string): Promise<string[]> {
  const prefix = inboxKey("");
  // A listing has a thousand keys: those that have expired must not fill it.
  const startAfter = prefix + (after || idPrefix(Date.now() - patience));
  const { objects } = await env.IMAGES.list({ prefix, startAfter });
  return objects
    .filter(({ uploaded }) => Date.now() - uploaded.getTime() > fresh)
    .map(({ key }) => key.slice(prefix.length))
    .slice(0, chunk);
}
