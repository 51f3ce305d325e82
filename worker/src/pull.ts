// From a manifest to a served image: its files are pulled into R2, a few per
// invocation, by a chain of queue messages; then one write to KV publishes it.
// A message may arrive twice, late, or concurrently: files are named by their
// content, and a message only takes effect while the image is in the message's
// run.

import type { Manifest } from "./api";
import type { Env } from "./env";
import { inParallel, pullFile } from "./files";
import { describe, entryKey, validateManifest, metadataOf } from "./image";
import { OptimizerError, deleteImage } from "./optimizer";
import { type ImageState, changeImage, readImage } from "./state";

/** Files per invocation. The free plan allows 10 ms of CPU time and 50 requests. */
export const chunk = 8;
/** The runtime allows six connections. */
const atOnce = 5;

/**
 * Starts or continues to store an image. since is when the work was requested:
 * an image deleted after that stays deleted.
 */
export async function begin(env: Env, manifest: Manifest, since: string): Promise<ImageState["status"]> {
  const wrong = validateManifest(manifest);
  if (wrong !== null) {
    throw new OptimizerError(502, "bad_manifest", `The optimizer's manifest is not valid: ${wrong}.`);
  }
  const state = await changeImage(env, manifest.id, (before): ImageState => {
    if (before?.status === "storing" || before?.status === "done") return before;
    if (before?.status === "deleted" && before.deleted_at >= since) return before;
    return { status: "storing", manifest, stored: 0, run: crypto.randomUUID() };
  });
  if (state.status === "storing") {
    await env.WORK.send({ kind: "pull", image: manifest.id, run: state.run, from: state.stored });
  }
  if (state.status === "done" && env.DELETE_AFTER_PULL) await deleteCopy(env, manifest.id);
  return state.status;
}

/** Pulls the files from this one on, and enqueues the next part. */
export async function pull(env: Env, id: string, run: string, from: number): Promise<void> {
  const state = await readImage(env, id);
  // Deleted during an earlier attempt, which may have stored something since.
  if (state?.status === "deleted") return sweep(env, id);
  // It has ended, or an equal message has done this part and enqueued the next.
  if (state?.status !== "storing" || state.run !== run || state.stored > from) return;
  const { manifest } = state;
  const files = manifest.variants.slice(from, from + chunk);
  await inParallel(files, atOnce, (file) => pullFile(env, file));

  const stored = from + files.length;
  const last = stored >= manifest.variants.length;
  if (last) {
    const entry = describe(manifest);
    await env.META.put(entryKey(id), JSON.stringify(entry), { metadata: metadataOf(entry) });
  } else {
    // Before the state is updated: others rely on the message once this part is
    // done.
    await env.WORK.send({ kind: "pull", image: id, run, from: stored });
  }
  const now = await changeImage(env, id, (before) => {
    if (before?.status !== "storing" || before.run !== run || before.stored >= stored) return before;
    return last ? { status: "done", manifest } : { ...before, stored };
  });
  if (now?.status === "deleted") return sweep(env, id); // deleted while this ran: parts of it may be back
  if (last && env.DELETE_AFTER_PULL) await deleteCopy(env, id);
}

/** Marks an image as failed. */
export async function giveUp(env: Env, id: string, run: string, error: OptimizerError): Promise<void> {
  await changeImage(env, id, (before) => {
    if (before?.status !== "storing" || before.run !== run) return before;
    const { manifest, stored } = before;
    return { status: "failed", manifest, stored, error: { code: error.code, message: error.detail } };
  });
}

/** Deletes the files of a deleted image, except the record of its deletion. */
export async function sweep(env: Env, id: string): Promise<void> {
  await env.META.delete(entryKey(id));
  for (;;) {
    const { objects, truncated } = await env.IMAGES.list({ prefix: `${id}/` });
    if (objects.length > 0) await env.IMAGES.delete(objects.map(({ key }) => key));
    if (!truncated) break;
  }
}

/** Deletes the daemon's copy, now or when the daemon is reachable. */
export async function deleteCopy(env: Env, id: string): Promise<void> {
  await deleteImage(env, id).catch(() => env.WORK.send({ kind: "forget", image: id }, { delaySeconds: 60 }));
}

/** Handles the queued deletion: the image may have been uploaded again since. */
export async function deleteCopyLater(env: Env, id: string): Promise<void> {
  const state = await readImage(env, id);
  const wanted = state?.status === "storing" || (state?.status === "done" && !env.DELETE_AFTER_PULL);
  if (!wanted) await deleteImage(env, id);
}
