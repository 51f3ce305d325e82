// From a manifest to a served image: its files are pulled into R2, a few per
// invocation, by a chain of queue messages; then one write to KV publishes it.
// A message may arrive twice, late, or concurrently: files are named by their
// content, and a message only takes effect while the image is in the message's
// run.

import type { Manifest } from "./api";
import { addToCatalog, longestMaking, removeFromCatalog } from "./catalog";
import type { Env } from "./env";
import { hasSet, inParallel, pullFile } from "./files";
import { type ImageEntry, describe, entryKey, imageOf, metadataOf, requireValid } from "./image";
import { announce } from "./hook";
import { deleteCopy, recordPull } from "./leftovers";
import type { OptimizerError } from "./optimizer";
import { keptFor, lostWith, sendAgain, settleUploads, withUpload } from "./source";
import {
  type ImageState,
  type StoredManifest,
  changeImage,
  createImage,
  openImage,
  readImage,
  resolveImage,
} from "./state";
import { restore } from "./trash";

/** Files per invocation. The free plan allows 10 ms of CPU time and 50 requests. */
export const chunk = 8;
/** The runtime allows six connections. */
const atOnce = 5;
/** How long the daemon may fail to send what it has made, ms: as long as uploads wait for it. */
const patience = longestMaking;

/**
 * Starts or continues to store an image. since is when the work was requested:
 * an image deleted after that stays deleted, one in the trash from before is restored.
 * upload is the one that it was made of, if it is known here. Its source is needed
 * from then on only if the result is "storing".
 */
export async function begin(
  env: Env,
  made: Manifest,
  since: string,
  upload: string | null,
): Promise<ImageState["status"]> {
  requireValid(made);
  const manifest = { ...made, uploaded_at: placeOf(made, since) };
  return env.DIRECT ? adopt(env, manifest, since, upload) : beginPull(env, manifest, since, upload);
}

async function beginPull(
  env: Env,
  manifest: StoredManifest,
  since: string,
  upload: string | null,
): Promise<ImageState["status"]> {
  const state = await changeImage(env, manifest.id, (before): ImageState => {
    if (before?.status === "done") return before;
    if (before?.status === "deleted" && before.deleted_at >= since) return before;
    if (before?.status === "alias" || before?.status === "trashed") return before;
    const uploads = withUpload(keptFor(before), upload);
    if (before?.status !== "storing" || !hasSameFiles(before.manifest, manifest)) return toPull(manifest, uploads);
    return uploads.length === keptFor(before).length ? before : { ...before, uploads };
  });
  if (state.status === "alias" || state.status === "trashed") return beginAgain(env, manifest.id, since);
  if (state.status === "storing") await enqueue(env, state);
  if (state.status === "deleted") await deleteLate(env, manifest.id, upload);
  if (state.status === "done" && deletesCopies(env)) await deleteCopy(env, manifest.id);
  return state.status;
}

/** Deletes what the daemon has made after the image was deleted. By its clock alone, another client's may be newer. */
async function deleteLate(env: Env, id: string, upload: string | null): Promise<void> {
  if (upload !== null) await deleteCopy(env, id);
}

/** A daemon with another libvips makes other files, after it has lost the first ones. */
function hasSameFiles(one: Manifest, other: Manifest): boolean {
  const filesOf = ({ variants }: Manifest) => variants.map(({ key, sha256 }) => key + sha256).join();
  return filesOf(one) === filesOf(other);
}

/** When an image was uploaded, but no earlier than listCatalog() looks for what was made after a time. */
function placeOf({ created_at }: Manifest, uploaded_at: string): string {
  const earliest = new Date(Date.parse(created_at) - longestMaking).toISOString();
  return uploaded_at < earliest ? earliest : uploaded_at;
}

/** For a set that another image has, or an image in the trash. */
async function beginAgain(env: Env, set: string, since: string): Promise<"done" | "deleted"> {
  const { id, state } = await resolveImage(env, set);
  if (state?.status !== "trashed") return "done";
  if (state.trashed_at >= since || (await restore(env, id)) === null) return "deleted";
  if (deletesCopies(env)) await deleteCopy(env, set);
  return "done";
}

/** Whether the daemon keeps no copy of what is in R2. In direct mode that is no copy, but the files. */
export function deletesCopies(env: Env): boolean {
  return env.DELETE_AFTER_PULL && !env.DIRECT;
}

/**
 * Publishes an image whose files the daemon has written into this bucket. Its manifest
 * is looked for last: a deletion removes the files before the entry, so that whatever
 * happens at the same time, no entry without files stays. Without a manifest the daemon
 * writes somewhere else, and the files are pulled.
 */
async function adopt(
  env: Env,
  manifest: StoredManifest,
  since: string,
  upload: string | null,
): Promise<ImageState["status"]> {
  const { id } = manifest;
  const cause = String(Date.parse(since));
  let state: ImageState = { status: "done", manifest };
  const isNew = await createImage(env, id, state);
  let kept: string[] = [];
  if (!isNew) {
    const { state: known, change } = await openImage(env, id);
    // It is being pulled, and so not in this bucket, unless the daemon has begun to write there since.
    const isPulled = known?.status === "storing" || known?.status === "failed";
    if (isPulled && !(await hasSet(env, id))) return beginPull(env, manifest, since, upload);
    state = await change((before): ImageState => {
      kept = keptFor(before);
      if (before?.status === "done") return before;
      if (before?.status === "deleted" && before.deleted_at >= since) return before;
      if (before?.status === "alias" || before?.status === "trashed") return before;
      return { status: "done", manifest };
    });
    if (state.status === "alias" || state.status === "trashed") return beginAgain(env, id, since);
    if (state.status === "deleted") await deleteLate(env, id, upload);
    if (state.status !== "done") return state.status;
    // Unless it died before it was published, there is nothing to do.
    if ((await env.META.get(entryKey(id))) !== null && (await hasSet(env, state.manifest.id))) {
      // Or before that was announced.
      if (state.manifest.uploaded_at === manifest.uploaded_at) await announce(env, "image.published", id, cause);
      await settleUploads(env, id, kept);
      return state.status;
    }
  }
  if (isNew) await publish(env, describe(state.manifest, state.words, id));
  else await show(env, id, state);
  if (await hasSet(env, state.manifest.id)) {
    await announce(env, "image.published", id, cause);
    await settleUploads(env, id, kept);
    return state.status;
  }
  const uploads = withUpload(kept, upload);
  const now = await changeImage(env, id, (before) => (before?.status === "done" ? toPull(manifest, uploads) : before));
  if (now?.status === "storing") await enqueue(env, now);
  if (now?.status === "deleted") await sweep(env, id);
  return now?.status ?? "deleted";
}

function toPull(manifest: StoredManifest, uploads: string[]): ImageState & { status: "storing" } {
  return { status: "storing", manifest, stored: 0, run: crypto.randomUUID(), uploads };
}

async function enqueue(env: Env, { manifest, run, stored }: ImageState & { status: "storing" }): Promise<void> {
  await env.WORK.send({ kind: "pull", image: manifest.id, run, from: stored });
}

/** Shows an image to readers: one write to the index, and one to KV. What is in KV has been published. */
export async function publish(env: Env, entry: ImageEntry): Promise<void> {
  await addToCatalog(env, imageOf(entry));
  await env.META.put(entryKey(entry.id), JSON.stringify(entry), { metadata: metadataOf(entry) });
}

/**
 * Publishes an image as it is now, unless it is deleted, or moved into the trash, meanwhile.
 * Whoever writes last to KV and to the index looks at the state after that: however many
 * changes are published at the same time, both end with the last one.
 */
export async function show(env: Env, id: string, state: ImageState & { status: "done" }): Promise<ImageEntry> {
  const entry = describe(state.manifest, state.words, id);
  await publish(env, entry);
  return (await correct(env, entry, await readImage(env, id))) ?? entry;
}

/** Publishes an image again, or hides it, if its state after it was published is another. Null if it is hidden. */
export async function correct(env: Env, published: ImageEntry, now: ImageState | null): Promise<ImageEntry | null> {
  const { id } = published;
  if (now?.status !== "done") {
    // What has hidden it may have been faster.
    await hide(env, id);
    return null;
  }
  if (JSON.stringify(describe(now.manifest, now.words, id)) === JSON.stringify(published)) return published;
  // KV takes one write of a key per second.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return show(env, id, now);
}

/** Pulls the files from this one on, and enqueues the next part. Once all are stored, no source is needed. */
export async function pull(env: Env, id: string, run: string, from: number): Promise<void> {
  const { state, change } = await openImage(env, id);
  // Deleted during an earlier attempt, which may have stored something since.
  if (state?.status === "deleted") return sweep(env, id);
  // It has ended, or an equal message has done this part and enqueued the next.
  if (state?.status !== "storing" || state.run !== run || state.stored > from) return;
  const { manifest } = state;
  const files = manifest.variants.slice(from, from + chunk);
  await inParallel(files, atOnce, (file) => pullFile(env, file));

  const stored = from + files.length;
  const last = stored >= manifest.variants.length;
  const entry = describe(manifest);
  if (last) {
    await publish(env, entry);
    await announce(env, "image.published", id, run);
  } else {
    // Before the state is updated: others rely on the message once this part is
    // done.
    await env.WORK.send({ kind: "pull", image: id, run, from: stored });
  }
  let uploads: string[] = [];
  const now = await change((before) => {
    uploads = [];
    if (before?.status !== "storing" || before.run !== run || before.stored >= stored) return before;
    if (!last) return { ...before, stored };
    uploads = keptFor(before);
    return { status: "done", manifest };
  });
  if (now?.status === "deleted") return sweep(env, id); // deleted while this ran: parts of it may be back
  if (!last) return;
  // An equal message was faster, and the owner too.
  if (now?.status === "done" || now?.status === "trashed") await correct(env, entry, now);
  if (deletesCopies(env)) await deleteCopy(env, id);
  // Last: what is left of this is completed by the next trigger.
  await settleUploads(env, id, uploads);
}

/**
 * Marks an image as failed. It is pulled when the daemon is back, unless it has been away for long. If the daemon
 * has the image no more, it gets the sources again that were kept.
 */
export async function giveUp(env: Env, id: string, run: string, error: OptimizerError): Promise<void> {
  const { state: known, change } = await openImage(env, id);
  if (known?.status !== "storing" || known.run !== run) return;
  const isRecent = Date.now() - Date.parse(known.manifest.created_at) < patience;
  // First: if this is interrupted, the message comes again only as long as the image is not marked.
  if (isRecent && error.code !== "not_found") await recordPull(env, id);
  const state = await change((before) => {
    if (before?.status !== "storing" || before.run !== run) return before;
    const { manifest, stored } = before;
    const reason = { code: error.code, message: error.detail };
    return { status: "failed", manifest, stored, error: reason, uploads: keptFor(before) };
  });
  for (const upload of lostWith(state)) await sendAgain(env, upload, id);
}

/** Continues to store an image that was given up. */
export async function pullAgain(env: Env, id: string): Promise<void> {
  const state = await changeImage(env, id, (before) => {
    if (before?.status !== "failed") return before;
    return { ...toPull(before.manifest, keptFor(before)), stored: before.stored };
  });
  if (state?.status === "storing") await enqueue(env, state);
}

/** Deletes the files of a deleted image, except the record of its deletion. */
export async function sweep(env: Env, id: string): Promise<void> {
  for (;;) {
    const { objects, truncated } = await env.IMAGES.list({ prefix: `${id}/` });
    // The original is only here if the daemon writes into this bucket.
    await env.IMAGES.delete([`originals/${id}`, ...objects.map(({ key }) => key)]);
    if (!truncated) break;
  }
  await hide(env, id);
}

/** Takes an image out of KV and the index. */
export async function hide(env: Env, id: string): Promise<void> {
  await env.META.delete(entryKey(id));
  await removeFromCatalog(env, id);
}
