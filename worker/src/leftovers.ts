// What could not be done at once, as records in R2:
//
//   state/forget/<id>       the daemon's copy of an image, while the daemon is off
//   state/forget/job_<…>    what a job for a variant makes, until the Worker has it
//   state/forget/pull_<id>  an image whose files the daemon did not send for half a day
//   state/purge/<id>        an image in the edge's caches
//
// tick() looks at them every few minutes. They cost no queue operations while the
// daemon is off, even if it is off for good.

import type { Env } from "./env";
import { OptimizerError, deleteImage, getJob } from "./optimizer";
import { canPurge, purgeTags } from "./purge";
import { deletesCopies, pullAgain } from "./pull";
import { resolveImage } from "./state";
import { type StoredVariant, takeVariant } from "./variant";

const forgetPrefix = "state/forget/";
const purgePrefix = "state/purge/";
const forgetKey = (name: string) => forgetPrefix + name;
const jobName = "job_";
const pullName = "pull_";
/** Of the daemon's, per invocation: at most eight requests each. */
const chunk = 2;
/** Cloudflare allows 30 tags per request, one of which is that of listings. */
const purgedAtOnce = 29;

/** Deletes the daemon's copy, now or when the daemon is reachable, however long that takes. */
export async function deleteCopy(env: Env, id: string): Promise<void> {
  await deleteImage(env, id).catch(() => env.IMAGES.put(forgetKey(id), ""));
}

/** Deletes the daemon's copy of an image that was deleted while the daemon was off. False if there is none. */
export async function deleteStaleCopy(env: Env, id: string): Promise<boolean> {
  if ((await env.IMAGES.head(forgetKey(id))) === null) return false;
  await deleteImage(env, id);
  await env.IMAGES.delete(forgetKey(id));
  return true;
}

/** Records that a job makes a variant: the request may end before it. */
export async function recordJob(env: Env, job: string, variant: StoredVariant): Promise<void> {
  await env.IMAGES.put(forgetKey(job), JSON.stringify(variant));
}

/** Deletes the record of a job. */
export async function settleJob(env: Env, job: string): Promise<void> {
  await env.IMAGES.delete(forgetKey(job));
}

/** Records that an image is to be pulled when the daemon is reachable. */
export async function recordPull(env: Env, id: string): Promise<void> {
  await env.IMAGES.put(forgetKey(pullName + id), "");
}

/** Removes an image, by all its ids, from the edge's caches, now or later, if there is a token for that. */
export async function purge(env: Env, ids: string[]): Promise<void> {
  if (!canPurge(env)) return;
  await purgeTags(env, ids).catch(() => Promise.all(ids.map((id) => env.IMAGES.put(purgePrefix + id, ""))));
}

/** Removes from the edge's caches what could not be at once. */
export async function purgeAgain(env: Env): Promise<void> {
  if (!canPurge(env)) return;
  const { objects } = await env.IMAGES.list({ prefix: purgePrefix, limit: purgedAtOnce });
  if (objects.length === 0) return;
  const keys = objects.map(({ key }) => key);
  await purgeTags(
    env,
    keys.map((key) => key.slice(purgePrefix.length)),
  );
  await env.IMAGES.delete(keys);
}

/** Whether the daemon has something that must be deleted, or pulled. */
export async function hasLeftovers(env: Env): Promise<boolean> {
  return (await env.IMAGES.list({ prefix: forgetPrefix, limit: 1 })).objects.length > 0;
}

/** Deletes, or has pulled, the next few things that the daemon still has after this name, and enqueues the others. */
export async function workLeftovers(env: Env, after: string): Promise<void> {
  const { objects, truncated } = await env.IMAGES.list({
    prefix: forgetPrefix,
    limit: chunk,
    ...(after && { startAfter: forgetKey(after) }),
  });
  const names = objects.map(({ key }) => key.slice(forgetPrefix.length));
  const last = names.at(-1);
  if (truncated && last !== undefined) await env.WORK.send({ kind: "leftovers", after: last });
  for (const name of names) {
    // If one fails for good, the others must not wait for it.
    await work(env, name).catch(console.error);
  }
}

async function work(env: Env, name: string): Promise<void> {
  if (name.startsWith(jobName)) return workJob(env, name);
  if (!name.startsWith(pullName)) return workCopy(env, name);
  await pullAgain(env, name.slice(pullName.length));
  await env.IMAGES.delete(forgetKey(name));
}

async function workCopy(env: Env, id: string): Promise<void> {
  const { state } = await resolveImage(env, id);
  // The image may have been uploaded again since, or have another set.
  const wanted =
    (state?.status === "storing" ||
      ((state?.status === "done" || state?.status === "trashed") && !deletesCopies(env))) &&
    state.manifest.id === id;
  if (!wanted) await deleteImage(env, id);
  await env.IMAGES.delete(forgetKey(id));
}

/** Takes what the job has made, or deletes it if its image was deleted. */
async function workJob(env: Env, id: string): Promise<void> {
  try {
    const variant = await (await env.IMAGES.get(forgetKey(id)))?.json<StoredVariant>();
    if (!variant) return;
    const job = await getJob(env, id);
    if (job.finished_at === null) return; // next time
    await takeVariant(env, variant, job);
  } catch (error) {
    if (!(error instanceof OptimizerError)) throw error;
    if (error.status === 0 || error.status >= 500 || error.status === 429) throw error; // next time
  }
  await settleJob(env, id);
}
