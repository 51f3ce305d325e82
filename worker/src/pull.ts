// From a manifest to an image that is served: its files are pulled into R2, a
// few an invocation, by a chain of queue messages; then it is made public by
// one write to KV. A message may come twice, late, or in two places at once:
// files are named by their content, and what a message does counts only while
// the image is in the run that the message is of.

import type { Manifest } from "./api";
import type { Env } from "./env";
import { inParallel, pullFile } from "./files";
import { describe, entryKey, flaw, metadataOf } from "./image";
import { OptimizerError, deleteImage } from "./optimizer";
import { type ImageState, changeImage, readImage } from "./state";

/** Files an invocation. The free plan has 10 ms of processor time and 50 requests for it. */
export const chunk = 8;
/** The runtime has six connections. */
const atOnce = 5;

/**
 * Begins to store an image, or goes on with it. since is when the work was
 * ordered: an image that was deleted after that stays deleted.
 */
export async function begin(env: Env, manifest: Manifest, since: string): Promise<ImageState["status"]> {
  const wrong = flaw(manifest);
  if (wrong !== null) {
    throw new OptimizerError(502, "bad_manifest", `The optimizer's manifest cannot be used: ${wrong}.`);
  }
  const state = await changeImage(env, manifest.id, (before): ImageState => {
    if (before?.status === "storing" || before?.status === "done") return before;
    if (before?.status === "deleted" && before.deleted_at >= since) return before;
    return { status: "storing", manifest, stored: 0, run: crypto.randomUUID() };
  });
  if (state.status === "storing") {
    await env.WORK.send({ kind: "pull", image: manifest.id, run: state.run, from: state.stored });
  }
  if (state.status === "done" && env.DELETE_AFTER_PULL) await forget(env, manifest.id);
  return state.status;
}

/** Pulls the files beginning with this one, and sends for the next. */
export async function pull(env: Env, id: string, run: string, from: number): Promise<void> {
  const state = await readImage(env, id);
  // Deleted while an earlier try ran, which may have stored something since.
  if (state?.status === "deleted") return sweep(env, id);
  // It has ended, or an equal message has done this part and sent for the next.
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
    // Before the state says so: whoever sees this part done may rely on it.
    await env.WORK.send({ kind: "pull", image: id, run, from: stored });
  }
  const now = await changeImage(env, id, (before) => {
    if (before?.status !== "storing" || before.run !== run || before.stored >= stored) return before;
    return last ? { status: "done", manifest } : { ...before, stored };
  });
  if (now?.status === "deleted") return sweep(env, id); // while this ran: it may be back in part
  if (last && env.DELETE_AFTER_PULL) await forget(env, id);
}

/** Ends what will not come to a good end. */
export async function giveUp(env: Env, id: string, run: string, error: OptimizerError): Promise<void> {
  await changeImage(env, id, (before) => {
    if (before?.status !== "storing" || before.run !== run) return before;
    const { manifest, stored } = before;
    return { status: "failed", manifest, stored, error: { code: error.code, message: error.detail } };
  });
}

/** Removes what there is of a deleted image, but for the mark that it is one. */
export async function sweep(env: Env, id: string): Promise<void> {
  await env.META.delete(entryKey(id));
  for (;;) {
    const { objects, truncated } = await env.IMAGES.list({ prefix: `${id}/` });
    if (objects.length > 0) await env.IMAGES.delete(objects.map(({ key }) => key));
    if (!truncated) break;
  }
}

/** Has the daemon delete its copy, now or when it can be reached. */
export async function forget(env: Env, id: string): Promise<void> {
  await deleteImage(env, id).catch(() => env.WORK.send({ kind: "forget", image: id }, { delaySeconds: 60 }));
}

/** The message's part of that: by now the image may be wanted again. */
export async function forgetLater(env: Env, id: string): Promise<void> {
  const state = await readImage(env, id);
  const wanted = state?.status === "storing" || (state?.status === "done" && !env.DELETE_AFTER_PULL);
  if (!wanted) await deleteImage(env, id);
}
