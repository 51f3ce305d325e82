// A new ladder for old images: the daemon makes each one again from its original, and
// once all new files are there the image changes over to them. It keeps its id, and so
// its links; the id of its new set becomes an alias of it, so that the same photo
// uploaded again is no second image.
//
// One image at a time, a few requests per queue message. Every step is saved in R2
// (state/remake.json) and can be repeated. While the daemon is out of reach nothing is
// enqueued; tick() resumes.

import type { Job, Manifest, Remake } from "./api";
import { requireOwner } from "./auth";
import type { Env } from "./env";
import { hasSet, inParallel, pullFile } from "./files";
import { json } from "./http";
import { entryKey, requireValid } from "./image";
import { OptimizerError, getJob, postImage, postJob } from "./optimizer";
import { changeOver } from "./changeover";
import { type RemakeState, changeRemake, readImage, readRemake } from "./state";

/** Files per message: 20 requests in all. */
const chunk = 8;
/** The runtime allows six connections. */
const atOnce = 5;
/** Seconds that a message waits for the daemon. */
const longestWait = 20;
/** A chain of messages that has not moved on for so long has ended, ms. */
const patience = 10 * 60_000;

type Current = NonNullable<RemakeState["current"]>;
/** What a step has done with its image: not yet, or how it ended. */
type Step = Current | "done" | "unchanged" | "gone" | { failed: string };

/** GET /api/remake */
export async function getRemake(request: Request, env: Env): Promise<Response> {
  await requireOwner(request, env);
  return json(report(await readRemake(env)));
}

/** POST /api/remake: has all images made again, unless that is going on. */
export async function postRemake(request: Request, env: Env): Promise<Response> {
  await requireOwner(request, env);
  const run = crypto.randomUUID();
  const state = await changeRemake(env, (before): RemakeState => {
    if (before !== null && before.finished_at === null) return before;
    return {
      ...{ run, step: 0, resume_at: Date.now() + patience, finished_at: null, current: null },
      ...{ pending: [], cursor: null, listed: false, done: 0, unchanged: 0, failed: {} },
    };
  });
  if (state.run === run) await env.WORK.send({ kind: "remake", run });
  return json(report(state), 202);
}

function report(state: RemakeState | null): Remake {
  if (state === null) return { running: false, total: 0, done: 0, unchanged: 0, failed: {} };
  const { done, unchanged, failed, pending, current, finished_at } = state;
  const total = done + unchanged + Object.keys(failed).length + pending.length + (current === null ? 0 : 1);
  return { running: finished_at === null, total, done, unchanged, failed };
}

/** Enqueues the next step, if there is one and nothing does it already. Needs the daemon. */
export async function resumeRemake(env: Env, { run, resume_at }: RemakeState): Promise<void> {
  if (Date.now() < resume_at) return;
  await changeRemake(env, (before) => before && { ...before, resume_at: Date.now() + patience });
  await env.WORK.send({ kind: "remake", run });
}

/** Whether there is something to resume. */
export async function waitingRemake(env: Env): Promise<RemakeState | null> {
  const state = await readRemake(env);
  return state !== null && state.finished_at === null && Date.now() >= state.resume_at ? state : null;
}

/** Does the next step, and enqueues the one after it. */
export async function workRemake(env: Env, run: string): Promise<void> {
  const state = await readRemake(env);
  if (state === null || state.run !== run || state.finished_at !== null) return;
  try {
    const next = await nextState(env, state);
    if (!(await save(env, state, { ...next, resume_at: Date.now() + patience })) || next.finished_at !== null) return;
    const waits = next.current?.job != null && next.current.manifest === null;
    await env.WORK.send({ kind: "remake", run }, waits ? { delaySeconds: 5 } : {});
  } catch (error) {
    if (!(error instanceof OptimizerError)) throw error;
    await save(env, state, { ...state, resume_at: 0 }); // when the daemon is back
  }
}

/** Saves a step, unless another message has done it. */
async function save(env: Env, { run, step }: RemakeState, next: RemakeState): Promise<boolean> {
  let saved = false;
  await changeRemake(env, (before) => {
    saved = before?.run === run && before.step === step;
    return saved ? { ...next, step: step + 1 } : before;
  });
  return saved;
}

async function nextState(env: Env, state: RemakeState): Promise<RemakeState> {
  const { current } = state;
  if (current === null) return nextImage(env, state);
  const step = await advance(env, current);
  if (typeof step === "object" && "failed" in step) {
    return { ...state, current: null, failed: { ...state.failed, [current.id]: step.failed } };
  }
  if (typeof step === "object") return { ...state, current: step };
  if (step === "gone") return { ...state, current: null };
  return { ...state, current: null, [step]: state[step] + 1 };
}

/** Takes the next image, or a page of a thousand from KV. */
async function nextImage(env: Env, state: RemakeState): Promise<RemakeState> {
  const [id, ...pending] = state.pending;
  if (id !== undefined) return { ...state, pending, current: { id, job: null, manifest: null, old: null, stored: 0 } };
  if (state.listed) return { ...state, finished_at: new Date().toISOString() };
  const list = await env.META.list({ prefix: entryKey(""), cursor: state.cursor });
  return {
    ...state,
    pending: list.keys.map(({ name }) => name.slice(entryKey("").length)),
    cursor: list.list_complete ? null : list.cursor,
    listed: list.list_complete,
  };
}

async function advance(env: Env, current: Current): Promise<Step> {
  try {
    if (current.manifest === null) return await make(env, current);
    if (current.stored < current.manifest.variants.length) return await pull(env, current, current.manifest);
    return await changeOver(env, current.id, current.manifest, current.old);
  } catch (error) {
    if (error instanceof OptimizerError && isFinal(error)) return { failed: error.code };
    throw error;
  }
}

/** Whether another attempt at this image cannot help. */
function isFinal({ status, code }: OptimizerError): boolean {
  return code === "bad_manifest" || code === "no_original" || [400, 404, 413, 415, 422].includes(status);
}

/** Has the daemon make the image, or asks whether it has. */
async function make(env: Env, current: Current): Promise<Step> {
  const image = await readImage(env, current.id);
  if (image?.status !== "done") return "gone";
  const old = image.manifest;
  const made = current.job === null ? await submit(env, old) : await follow(env, current.job);
  if (made === null) return { ...current, job: null };
  if ("object" in made && made.finished_at === null) return { ...current, job: made.id };
  const manifest = manifestOf(made);
  if (manifest.id === old.id) return "unchanged";
  const direct = env.DIRECT && (await hasSet(env, manifest.id));
  return { ...current, manifest, old, stored: direct ? manifest.variants.length : 0 };
}

/** From the original that the daemon keeps, or that is in this bucket. */
async function submit(env: Env, { id, source }: Manifest): Promise<Job | Manifest> {
  try {
    const job = await postJob(env, { input: `image:${id}`, options: {} });
    return job.finished_at === null ? await getJob(env, job.id, longestWait) : job;
  } catch (error) {
    if (!(error instanceof OptimizerError && error.code === "not_found")) throw error;
  }
  const original = await env.IMAGES.get(`originals/${id}`);
  if (original === null) throw new OptimizerError(404, "no_original", "The original of this image was not kept.");
  return postImage(env, original.body, source.sha256, new URLSearchParams());
}

/** Null if the daemon does not know the job any more. */
async function follow(env: Env, id: string): Promise<Job | null> {
  try {
    return await getJob(env, id, longestWait);
  } catch (error) {
    if (error instanceof OptimizerError && error.code === "not_found") return null;
    throw error;
  }
}

function manifestOf(made: Job | Manifest): Manifest {
  if (!("object" in made)) return valid(made);
  if (made.error !== null) throw new OptimizerError(422, made.error.code, made.error.message);
  if (made.output === null || !("manifest" in made.output)) {
    throw new OptimizerError(422, "not_found", "The job has no manifest.");
  }
  return valid(made.output.manifest);
}

function valid(manifest: Manifest): Manifest {
  requireValid(manifest);
  return manifest;
}

async function pull(env: Env, current: Current, { variants }: Manifest): Promise<Step> {
  const files = variants.slice(current.stored, current.stored + chunk);
  await inParallel(files, atOnce, (file) => pullFile(env, file));
  return { ...current, stored: current.stored + files.length };
}
