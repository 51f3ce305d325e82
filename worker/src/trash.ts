// The trash: deleted images, which can be restored for a day. An image in it keeps its
// files, and is shown nowhere: whatever shows images reads their state, which is right
// at once. Records say what is in the trash and since when, the newest first:
//
//   state/trash/<time>-<id>

import type { Trash, TrashedImage } from "./api";
import { requireOwner } from "./auth";
import { deleteImage } from "./deletion";
import type { Env } from "./env";
import { idPattern } from "./files";
import { announce } from "./hook";
import { Problem, json, noContent } from "./http";
import { type ImageEntry, describe, imageOf } from "./image";
import { purge } from "./leftovers";
import { correct, hide, publish, show } from "./pull";
import { type ImageState, changeImage, readImage, resolveImage, trashKey, trashPrefix } from "./state";

/** How long an image can be restored, ms. */
const kept = 24 * 60 * 60_000;
/** Images per page: one request each, 20 at most of an invocation. */
const pageSize = 12;

const idOf = (record: string) => record.slice(-26);
const missing = () => new Problem(404, "not_found", "There is no such image.");

/** The own id of an image, from its id or one that leads to it. */
async function resolve(request: Request, env: Env, id: string): Promise<string> {
  await requireOwner(request, env);
  if (!idPattern.test(id)) throw missing();
  return (await resolveImage(env, id)).id;
}

/** POST /api/images/{id}/trash. It can be repeated. Copies in caches stay as after DELETE. */
export async function postTrash(request: Request, env: Env, id: string): Promise<Response> {
  const own = await resolve(request, env, id);
  const trashed_at = new Date().toISOString();
  if ((await readImage(env, own))?.status === "done") {
    // First: an image without a record would stay in the trash.
    await env.IMAGES.put(trashKey(own, trashed_at), "");
  }
  const state = await changeImage(env, own, (before): ImageState | null =>
    before?.status === "done" ? { ...before, status: "trashed", trashed_at } : before,
  );
  if (state?.status !== "trashed") throw missing();
  await hide(env, own);
  await purge(env, [own, ...(state.aliases ?? [])]);
  // A repetition is the same event.
  await announce(env, "image.deleted", own, String(Date.parse(state.trashed_at)));
  return noContent();
}

/** POST /api/images/{id}/restore. It can be repeated. */
export async function postRestore(request: Request, env: Env, id: string): Promise<Response> {
  const entry = await restore(env, await resolve(request, env, id));
  if (entry === null) throw missing();
  return json(imageOf(entry));
}

/** Shows an image of the trash again, as it was. Null if it was deleted for good. */
export async function restore(env: Env, id: string): Promise<ImageEntry | null> {
  const before = await readImage(env, id);
  if (before?.status === "done") return show(env, id, before);
  if (before?.status !== "trashed") return null;
  const { manifest, words, trashed_at } = before;
  const entry = describe(manifest, words, id);
  // First: if this is interrupted, the image is still in the trash, and can be restored again.
  await publish(env, entry);
  const state = await changeImage(env, id, (now): ImageState | null => {
    if (now?.status !== "trashed") return now;
    const { trashed_at: _, ...image } = now;
    return { ...image, status: "done" };
  });
  const restored = await correct(env, entry, state);
  if (restored === null) return null;
  await env.IMAGES.delete(trashKey(id, trashed_at));
  await announce(env, "image.published", id, `restored_${Date.parse(trashed_at)}`);
  return restored;
}

/** GET /api/trash?cursor= */
export async function getTrash(request: Request, env: Env): Promise<Response> {
  await requireOwner(request, env);
  const after = trashPrefix + (new URL(request.url).searchParams.get("cursor") ?? "");
  const { objects, truncated } = await env.IMAGES.list({ prefix: trashPrefix, startAfter: after, limit: pageSize });
  const images = await Promise.all(objects.map(({ key }) => trashedImage(env, key)));
  const last = objects.at(-1);
  const cursor = truncated && last ? last.key.slice(trashPrefix.length) : null;
  return json({ images: images.filter((image) => image !== null), cursor } satisfies Trash);
}

/** Null if the record is outdated. */
async function trashedImage(env: Env, record: string): Promise<TrashedImage | null> {
  const id = idOf(record);
  const state = await readImage(env, id);
  if (state?.status !== "trashed" || trashKey(id, state.trashed_at) !== record) return null;
  const { manifest, words, trashed_at } = state;
  const expires_at = new Date(Date.parse(trashed_at) + kept).toISOString();
  return { image: imageOf(describe(manifest, words, id)), deleted_at: trashed_at, expires_at };
}

/** Whether the trash has an image whose day is over. */
export async function hasExpired(env: Env): Promise<boolean> {
  return (await expired(env, "")).objects.length > 0;
}

/** Deletes the next image whose day is over, and enqueues the one after it. */
export async function workTrash(env: Env, after: string): Promise<void> {
  const { objects, truncated } = await expired(env, after);
  const [record] = objects;
  if (!record) return;
  if (truncated) await env.WORK.send({ kind: "trash", after: record.key });
  await deleteImage(env, idOf(record.key), record.key);
}

/** The first record after this one, or of all, that is older than a day. */
function expired(env: Env, after: string): Promise<R2Objects> {
  const newest = trashKey("", new Date(Date.now() - kept).toISOString());
  return env.IMAGES.list({ prefix: trashPrefix, startAfter: after || newest, limit: 1 });
}
