// The change of an image to the files of another set. Its id stays what it is.

import type { Manifest } from "./api";
import type { Env } from "./env";
import { deleteCopy, purge } from "./leftovers";
import { deletesCopies, hide, show, sweep } from "./pull";
import { keptFor, settleUploads } from "./source";
import { type ImageState, type StoredManifest, changeImage, readImage } from "./state";

/**
 * Shows an image with the files of a set that is complete, and deletes those of the set
 * it had. It can be repeated at any point. "gone" means that the image was deleted.
 */
export async function changeOver(
  env: Env,
  id: string,
  manifest: Manifest,
  old: Manifest | null,
): Promise<"done" | "gone"> {
  const set = manifest.id;
  let uploads: string[] = [];
  if (set !== id) {
    const other = await changeImage(env, set, (before): ImageState => {
      uploads = keptFor(before); // it was uploaded again, and was being pulled
      return before?.status === "done" ? before : { status: "alias", of: id };
    });
    // The photo was uploaded again since the ladder changed: it has an image already.
    if (other.status === "done") return merge(env, id, set, old);
  }
  const state = await changeImage(env, id, (before): ImageState | null => {
    if (before?.status !== "done" || before.manifest.id === set) return before;
    const aliases = set === id ? (before.aliases ?? []) : [...new Set([...(before.aliases ?? []), set])];
    return { ...before, manifest: continued(manifest, before.manifest), aliases };
  });
  if (state?.status !== "done") {
    const deleted: ImageState = { status: "deleted", deleted_at: new Date().toISOString() };
    await changeImage(env, set, (before) => (before?.status === "alias" ? deleted : before));
    await discard(env, set);
    return "gone";
  }
  await show(env, id, state);
  await settleUploads(env, set, uploads);
  if (deletesCopies(env)) await deleteCopy(env, set);
  await deleteFiles(env, old);
  await purge(env, [id, ...(state.aliases ?? [])]);
  return "done";
}

/** It is the same image: its times and its name stay. */
function continued(manifest: Manifest, before: StoredManifest): StoredManifest {
  const { created_at, uploaded_at = created_at } = before;
  const { filename = manifest.source.filename } = before.source;
  return {
    ...manifest,
    created_at,
    uploaded_at,
    source: { ...manifest.source, ...(filename !== undefined && { filename }) },
  };
}

/** Makes two images of one photo one: the older leads to the newer, which takes over its words and its place. */
async function merge(env: Env, id: string, into: string, old: Manifest | null): Promise<"done" | "gone"> {
  const from = await readImage(env, id);
  const state = await changeImage(env, into, (before): ImageState | null => {
    if (before?.status !== "done" || from?.status !== "done") return before;
    return {
      ...before,
      manifest: continued(before.manifest, from.manifest),
      words: { ...from.words, ...before.words },
      aliases: [...new Set([...(before.aliases ?? []), ...(from.aliases ?? []), id])],
    };
  });
  // After that: whoever repeats this must still find the words.
  const left = await changeImage(env, id, (before): ImageState | null => {
    return before?.status === "done" ? { status: "alias", of: into } : before;
  });
  if (left?.status === "trashed") return "gone"; // it may be restored, with its old files
  if (state?.status === "done") await show(env, into, state);
  await hide(env, id);
  await deleteFiles(env, old);
  await purge(env, [id]);
  return "done";
}

/** Deletes the files of a set that no image has any more, and the daemon's copy of it. */
async function deleteFiles(env: Env, old: Manifest | null): Promise<void> {
  if (old === null) return;
  // Variants that were made on demand stay: they are beside them, under the image's id.
  await env.IMAGES.delete([`${old.id}/manifest.json`, `originals/${old.id}`, ...old.variants.map(({ key }) => key)]);
  await deleteCopy(env, old.id);
}

/** Deletes a set that was made for an image which has been deleted. */
async function discard(env: Env, set: string): Promise<void> {
  await sweep(env, set);
  await deleteCopy(env, set);
}
