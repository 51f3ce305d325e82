// How things stand while they are under way, in R2, whose reads always see the
// last write. (KV would still show "not there" a minute later.)
//
//   state/uploads/<job>.json   an upload, and the image that came of it
//   state/images/<id>.json     an image, from its manifest to its deletion

import type { Manifest } from "./api";
import type { Env } from "./env";

export interface Failure {
  code: string;
  message: string;
}

export interface UploadState {
  /** Set when the daemon is done with it. */
  image: string | null;
  error: Failure | null;
  created_at: string;
}

export type ImageState =
  /** run is of this time that it is stored: messages of an earlier one count for nothing. */
  | { status: "storing"; manifest: Manifest; stored: number; run: string }
  | { status: "done"; manifest: Manifest }
  | { status: "failed"; manifest: Manifest; stored: number; error: Failure }
  /** Kept, so that what comes late does not bring a deleted image back. */
  | { status: "deleted"; deleted_at: string };

const uploadKey = (id: string) => `state/uploads/${id}.json`;
const imageKey = (id: string) => `state/images/${id}.json`;
const asJSON = { contentType: "application/json" };

export async function readUpload(env: Env, id: string): Promise<UploadState | null> {
  const object = await env.IMAGES.get(uploadKey(id));
  return object && object.json<UploadState>();
}

/** Writes it if there is none yet; the webhook may have been quicker. */
export async function createUpload(env: Env, id: string, state: UploadState): Promise<void> {
  await env.IMAGES.put(uploadKey(id), JSON.stringify(state), {
    httpMetadata: asJSON,
    onlyIf: { etagDoesNotMatch: "*" },
  });
}

export async function writeUpload(env: Env, id: string, state: UploadState): Promise<void> {
  await env.IMAGES.put(uploadKey(id), JSON.stringify(state), { httpMetadata: asJSON });
}

export async function readImage(env: Env, id: string): Promise<ImageState | null> {
  const object = await env.IMAGES.get(imageKey(id));
  return object && object.json<ImageState>();
}

/**
 * One step of an image's state, from what it is to what step returns, with
 * nobody between. Returning the same object changes nothing. The answer is the
 * state after it.
 */
export async function changeImage<S extends ImageState | null>(
  env: Env,
  id: string,
  step: (state: ImageState | null) => S,
): Promise<S> {
  for (let tries = 0; tries < 5; tries++) {
    const object = await env.IMAGES.get(imageKey(id));
    const before = object && (await object.json<ImageState>());
    const after = step(before);
    if (after === null || after === before) return after;
    const onlyIf = object ? { etagMatches: object.etag } : { etagDoesNotMatch: "*" };
    const written = await env.IMAGES.put(imageKey(id), JSON.stringify(after), { httpMetadata: asJSON, onlyIf });
    if (written !== null) return after;
  }
  throw new Error(`the state of ${id} changes all the time`);
}
