// Deleting an image for good, here and with the daemon.

import type { Env } from "./env";
import { announce } from "./hook";
import { deleteCopy, purge } from "./leftovers";
import { sweep } from "./pull";
import { deleteSources, keptFor } from "./source";
import { type ImageState, changeImage, trashKey } from "./state";

/**
 * Deletes an image; with a record of the trash only if it is still there by that
 * record. It can be repeated at any point, and a trigger does that if it is interrupted.
 */
export async function deleteImage(env: Env, id: string, record: string | null = null): Promise<void> {
  const deleted_at = new Date().toISOString();
  const onlyIf = { etagDoesNotMatch: "*" };
  // Of a deletion that has begun and was complete, there is no record any more.
  const isRepeated = record !== null || (await env.IMAGES.put(begunKey(id), "", { onlyIf })) === null;
  let before: ImageState | null = null;
  // First, so that a running pull sees it and cleans up.
  const state = await changeImage(env, id, (now): ImageState | null => {
    before = now;
    if (now === null || (record !== null && !isDue(id, now, record))) return now;
    if (now.status === "deleted") {
      const { shown_until, ...complete } = now;
      return { ...complete, deleted_at, ...(isRepeated && shown_until && { shown_until }) };
    }
    return {
      status: "deleted",
      deleted_at,
      ...(now.status === "done" && { shown_until: deleted_at }),
      sets: setsOf(id, now),
      aliases: aliasesOf(now),
      uploads: keptFor(now),
    };
  });
  if (state === null || state.status === "deleted") await deleteParts(env, id, state);
  await env.IMAGES.delete([record ?? begunKey(id), recordOf(id, before)].filter((key) => key !== null));
}

/** The record of a deletion for good that has begun, as of an image whose day is over. */
function begunKey(id: string): string {
  return trashKey(id, new Date(0).toISOString());
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
  return [...new Set([id, ...("manifest" in state ? [state.manifest.id] : [])])];
}

function aliasesOf(state: ImageState): string[] {
  return ("aliases" in state && state.aliases) || [];
}

async function deleteParts(env: Env, id: string, state: (ImageState & { status: "deleted" }) | null): Promise<void> {
  const { sets = [id], aliases = [], uploads = [], shown_until } = state ?? {};
  const deleted: ImageState = { status: "deleted", deleted_at: new Date().toISOString() };
  await deleteSources(env, uploads);
  for (const alias of aliases) await changeImage(env, alias, (state) => state && deleted);
  for (const set of sets) {
    await sweep(env, set);
    await deleteCopy(env, set);
  }
  await purge(env, [id, ...aliases]);
  // A repetition is the same event.
  if (shown_until !== undefined) await announce(env, "image.deleted", id, String(Date.parse(shown_until)));
}
