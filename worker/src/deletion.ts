// Deleting an image for good, here and with the daemon.

import type { Env } from "./env";
import { announce } from "./hook";
import { deleteCopy, purge } from "./leftovers";
import { sweep } from "./pull";
import { type ImageState, changeImage, trashKey } from "./state";

/**
 * Deletes an image; with a record of the trash only if it is still there by that
 * record. It can be repeated at any point.
 */
export async function deleteImage(env: Env, id: string, record: string | null = null): Promise<void> {
  const deleted_at = new Date().toISOString();
  let before: ImageState | null = null;
  // First, so that a running pull sees it and cleans up.
  const state = await changeImage(env, id, (now): ImageState | null => {
    before = now;
    if (now === null || (record !== null && !isDue(id, now, record))) return now;
    return { status: "deleted", deleted_at, sets: setsOf(id, now), aliases: aliasesOf(now) };
  });
  if (state === null || state.status === "deleted") await deleteParts(env, id, before, state ?? {});
  const left = record ?? recordOf(id, before);
  if (left !== null) await env.IMAGES.delete(left);
}

/** The record of an image in the trash; null if it is not there. */
function recordOf(id: string, state: ImageState | null): string | null {
  return state?.status === "trashed" ? trashKey(id, state.trashed_at) : null;
}

/** Whether an image is in the trash by this record, or its deletion may not be complete. */
function isDue(id: string, state: ImageState, record: string): boolean {
  return state.status === "deleted" || recordOf(id, state) === record;
}

/** The ids under which an image has files. */
function setsOf(id: string, state: ImageState): string[] {
  if (state.status === "deleted") return state.sets ?? [id];
  return [...new Set([id, ...("manifest" in state ? [state.manifest.id] : [])])];
}

function aliasesOf(state: ImageState): string[] {
  return ("aliases" in state && state.aliases) || [];
}

async function deleteParts(
  env: Env,
  id: string,
  before: ImageState | null,
  { sets = [id], aliases = [] }: { sets?: string[]; aliases?: string[] },
): Promise<void> {
  const deleted: ImageState = { status: "deleted", deleted_at: new Date().toISOString() };
  for (const alias of aliases) await changeImage(env, alias, (state) => state && deleted);
  for (const set of sets) {
    await sweep(env, set);
    await deleteCopy(env, set);
  }
  await purge(env, [id, ...aliases]);
  if (before?.status === "done") await announce(env, "image.deleted", id, crypto.randomUUID());
}
