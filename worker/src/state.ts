// The state of uploads and images, in R2, whose reads always see the last
// write. (KV may lag by a minute.)
//
//   state/uploads/<job>.json   an upload, and its image
//   state/images/<id>.json     an image, from its manifest to its deletion

import type { Manifest } from "./api";
import type { Env } from "./env";

export interface Failure {
  code: string;
  message: string;
}

export interface UploadState {
  /** Set once the daemon has made it. */
  image: string | null;
  error: Failure | null;
  created_at: string;
}

export type ImageState =
  /** run identifies this attempt to store it: messages of earlier ones are ignored. */
  | { status: "storing"; manifest: Manifest; stored: number; run: string }
  | { status: "done"; manifest: Manifest }
  | { status: "failed"; manifest: Manifest; stored: number; error: Failure }
  /** Kept, so that late messages do not restore a deleted image. */
  | { status: "deleted"; deleted_at: string };

const uploadKey = (id: string) => `state/uploads/${id}.json`;
const imageKey = (id: string) => `state/images/${id}.json`;
const asJSON = { contentType: "application/json" };

export async function readUpload(env: Env, id: string): Promise<UploadState | null> {
  const object = await env.IMAGES.get(uploadKey(id));
  return object && object.json<UploadState>();
}

/** Creates it unless it exists; the webhook may have been faster. */
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
 * Atomically replaces an image's state by what step returns for it. Returning
 * the same object changes nothing. Returns the new state.
 */
export async function changeImage<S extends ImageState | null>(
  env: Env,
  id: string,
  step: (state: ImageState | null) => S,
): Promise<S> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const object = await env.IMAGES.get(imageKey(id));
    const before = object && (await object.json<ImageState>());
    const after = step(before);
    if (after === null || after === before) return after;
    const onlyIf = object ? { etagMatches: object.etag } : { etagDoesNotMatch: "*" };
    const written = await env.IMAGES.put(imageKey(id), JSON.stringify(after), { httpMetadata: asJSON, onlyIf });
    if (written !== null) return after;
  }
  throw new Error(`too many concurrent changes of ${id}`);
}
