// Uploads on their way to the daemon. Their sources are in R2 (see source.ts) from
// the answer to the client on, so the daemon may be off, busy or slow. Whoever looks
// at an upload moves it on: the request that brought it, a page that asks for its
// status, and tick(), every few minutes.

import type { Job } from "./api";
import type { Env } from "./env";
import { deleteStaleCopy, hasLeftovers, purgeAgain } from "./leftovers";
import { OptimizerError, getJob, isReachable, postImage } from "./optimizer";
import { begin, pullAgain } from "./pull";
import { resumeRemake, waitingRemake } from "./remake";
import { deleteSources, endUpload, isOpen, keptFor, lostWith, sendAgain } from "./source";
import { type UploadState, type WalkState, changeUpload, changeWalk, inboxKey, readImage, readUpload } from "./state";
import { hasExpired } from "./trash";

/** An attempt that has not ended by then has died, ms. */
const attemptTime = 6 * 60_000;
/** Waits after failed attempts: doubled from the first to the longest, which is over at the next trigger, ms. */
const firstWait = 5_000;
const longestWait = 4 * 60_000;
/** How long the daemon may be out of reach, ms. After that the sources are still kept. */
const patience = 14 * 24 * 60 * 60_000;
/** A request that has just brought an upload hands it over itself, ms. */
const fresh = 60_000;
/** A walk through the inbox that has not moved on for so long has ended, ms. */
const walkTime = 10 * 60_000;
/** Messages in a row without effect, after which a walk waits for the next trigger. */
const idleMessages = 2;
/** The requests that a visit makes, by its effect. A message begins none after so many: it makes 20 in all. */
const enough = 8;
const costs = { handed: 7, ended: 8, lost: 5, asked: 2, full: enough, failed: enough, waiting: 1 };
/** The most uploads that a message visits. */
const longestLook = enough;

/** Codes of refusals that are about the image: no other attempt can change them. */
const imageCodes = [
  ...["unsupported_format", "corrupt_image", "too_large", "too_many_pixels", "too_many_frames"],
  ...["processing_failed", "invalid_options", "bad_manifest"],
];

/** Codes of refusals that have nothing to do with the image. */
const fullCodes = ["insufficient_storage", "queue_full", "shutting_down", "unavailable"];

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

/** Moves an upload on, if it can be now. Returns its state; null if there is no such upload. */
export async function advance(env: Env, id: string): Promise<UploadState | null> {
  const state = await readUpload(env, id);
  return state === null || !isOpen(state) ? state : moveOn(env, id, state);
}

function moveOn(env: Env, id: string, state: UploadState): Promise<UploadState | null> {
  return state.job === null ? handOver(env, id) : followJob(env, id, state, state.job);
}

/**
 * Moves an upload on, however long it has waited and whenever it was tried last. One that has
 * expired begins again, and so does the pull of its image.
 */
export async function retry(env: Env, id: string): Promise<UploadState | null> {
  const state = await changeUpload(env, id, (before) => {
    if (!isOpen(before)) return before;
    const created_at = isExpired(before) ? new Date().toISOString() : before.created_at;
    return { ...before, created_at, next_at: 0 };
  });
  if (state?.image) await pullAgain(env, state.image);
  return advance(env, id);
}

/** Sends the source to the daemon, unless somebody else is doing that, or it is too early. */
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
    const status = await begin(env, answer, state.created_at, id);
    return await endUpload(env, id, { image: answer.id, duplicate: status === "done" }, status === "storing");
  } catch (error) {
    if (!(error instanceof OptimizerError)) throw error;
    return notHandedOver(env, id, state.attempts, error);
  }
}

function notHandedOver(env: Env, id: string, attempts: number, error: OptimizerError): Promise<UploadState | null> {
  const { code } = error;
  if (imageCodes.includes(code)) return fail(env, id, code, error.detail);
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
    return await applyEnd(env, now, id, state);
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
  return applyEnd(env, job, upload, upload === null ? null : await readUpload(env, upload));
}

async function applyEnd(
  env: Env,
  job: Job,
  upload: string | null,
  known: UploadState | null,
): Promise<UploadState | null> {
  const failed = (code: string, message: string) => (upload === null ? null : fail(env, upload, code, message));
  if (known !== null && !isOpen(known)) return known;
  if (job.status === "failed") {
    return failed(job.error?.code ?? "internal", job.error?.message ?? "The optimizer gave no reason.");
  }
  // The set was deleted there since then.
  if (job.output === null) return upload === null ? null : sendAgain(env, upload, job.id);
  if (!("manifest" in job.output)) return null; // a job for a single variant, not an upload
  const { manifest } = job.output;
  try {
    const status = await begin(env, manifest, known?.created_at ?? job.created_at, known === null ? null : upload);
    return upload === null ? null : await endUpload(env, upload, { image: manifest.id }, status === "storing");
  } catch (error) {
    if (!(error instanceof OptimizerError && error.code === "bad_manifest")) throw error;
    return failed(error.code, error.detail); // retrying cannot help
  }
}

function fail(env: Env, id: string, code: string, message: string): Promise<UploadState | null> {
  return endUpload(env, id, { error: { code, message } });
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
  if (hasUploads) await startWalk(env);
  if (hasOthers) await env.WORK.send({ kind: "leftovers", after: "" });
  if (remake) await resumeRemake(env, remake);
}

/** Begins a walk through the inbox where the last one has stopped, unless that is still under way. */
async function startWalk(env: Env): Promise<void> {
  const run = crypto.randomUUID();
  const walk = await changeWalk(env, (before) => {
    if (before !== null && Date.now() < before.resume_at) return before;
    return { run, after: before?.after ?? "", resume_at: Date.now() + walkTime };
  });
  if (walk.run === run) await env.WORK.send({ kind: "inbox", run, after: walk.after, idle: 0 });
}

/**
 * Visits the next uploads of the inbox. As long as that has an effect, those after them follow
 * at once; otherwise the next trigger goes on from there. So an inbox of any size costs few
 * messages per trigger, and each upload is visited in its turn.
 */
export async function workInbox(env: Env, run: string, after: string, idle: number): Promise<void> {
  let uploads = await waiting(env, after);
  if (uploads.length === 0) {
    after = "";
    uploads = await waiting(env, after);
  }
  const [first = ""] = uploads;
  let mine = false;
  // Now: if this upload ends the whole invocation each time, the others must not wait for it.
  await changeWalk(env, (before): WalkState | null => {
    mine = before?.run === run;
    return mine ? { run, after: first, resume_at: Date.now() + walkTime } : before;
  });
  if (!mine) return; // it took so long that another walk has begun
  const { visited, moved, full } = await visitAll(env, uploads);
  const last = uploads[visited - 1] ?? after;
  const isEnd = visited === uploads.length && visited < longestLook;
  const idleNow = moved ? 0 : idle + 1;
  if (isEnd || full || idleNow >= idleMessages) {
    const next = { run: "", after: isEnd ? "" : last, resume_at: 0 };
    await changeWalk(env, (before) => (before?.run === run ? next : before));
  } else {
    await env.WORK.send({ kind: "inbox", run, after: last, idle: idleNow });
  }
}

/** Visits as many of these as a message may. The next walk begins with the one for which the daemon has no room. */
async function visitAll(
  env: Env,
  uploads: readonly string[],
): Promise<{ visited: number; moved: boolean; full: boolean }> {
  let visited = 0;
  let moved = false;
  for (let cost = 0; visited < uploads.length && cost < enough; visited++) {
    const effect = await visit(env, uploads[visited] ?? "").catch(asWaiting);
    if (effect === "full") return { visited, moved, full: true };
    moved ||= effect === "handed" || effect === "ended";
    cost += costs[effect];
  }
  return { visited, moved, full: false };
}

/**
 * What a visit has done. asked: the daemon still works on it, or its files are being stored. lost: the daemon gets it
 * again, at the next visit. full: it has no room, for this and for others.
 */
type Effect = keyof typeof costs;

async function visit(env: Env, id: string): Promise<Effect> {
  let state = await readUpload(env, id);
  if (state !== null && state.multipart !== null) {
    // All parts are here, but the request that completed them has died before it recorded that.
    state = await changeUpload(env, id, (before) => ({ ...before, multipart: null }));
  }
  if (state === null || !isOpen(state)) return visitEnded(env, id, state);
  const now = await moveOn(env, id, state);
  if (now === null || !isOpen(now)) return "ended";
  if (now.job !== state.job) return "handed";
  if (now.job !== null) return "asked";
  if (now.attempts === state.attempts) return "waiting";
  return fullCodes.includes(now.reason?.code ?? "") ? "full" : "failed";
}

/** For an upload that has ended, or whose request has died before it answered: its client will send it again. */
async function visitEnded(env: Env, id: string, state: UploadState | null): Promise<Effect> {
  if (state !== null && state.image !== null) {
    const image = await readImage(env, state.image);
    if (lostWith(image).includes(id)) {
      await sendAgain(env, id, state.image);
      return "lost";
    }
    if (keptFor(image).includes(id)) return "asked";
  }
  await deleteSources(env, [id]);
  return "ended";
}

/** An upload that fails must not keep a walk from the others. */
function asWaiting(error: unknown): Effect {
  console.error(error);
  return "waiting";
}

/** The ids of the oldest uploads in the inbox after this one, except those that have just arrived or have expired. */
async function waiting(env: Env, after: string): Promise<string[]> {
  const prefix = inboxKey("");
  // A listing has a thousand keys: those that have expired must not fill it.
  const oldest = idPrefix(Date.now() - patience);
  const { objects } = await env.IMAGES.list({ prefix, startAfter: prefix + (after > oldest ? after : oldest) });
  return objects
    .filter(({ uploaded }) => Date.now() - uploaded.getTime() > fresh)
    .map(({ key }) => key.slice(prefix.length))
    .slice(0, longestLook);
}
