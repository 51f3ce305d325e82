// The state of uploads and images, in R2, whose reads always see the last
// write. (KV may lag by a minute.)
//
//   inbox/<upload>               the source of an upload (see source.ts)
//   state/uploads/<upload>.json  an upload, and its image
//   state/images/<id>.json       an image, from its manifest to its deletion
//   state/trash/<time>-<id>      empty: an image that can be restored
//   state/inbox.json             how far the inbox has been worked through
//   state/remake.json            the remaking of all images

import type { Manifest, Words } from "./api";
import type { Env } from "./env";

export interface Failure {
  code: string;
  message: string;
}

export interface UploadState {
  created_at: string;
  filename: string;
  bytes: number;
  /** Hex; null if the client sent no digest. */
  sha256: string | null;
  /** The Worker's address, for the daemon's webhook. */
  site: string;
  /** The id of an R2 multipart upload whose parts are still being sent. */
  multipart: string | null;
  /** Attempts to hand it over to the daemon, and when the next one may begin, ms since 1970. */
  attempts: number;
  next_at: number;
  /** Why it waits, after a failed attempt. */
  reason: Failure | null;
  /** The daemon's job; null before it has the upload. */
  job: string | null;
  /** Set once the daemon has made it. */
  image: string | null;
  /** Whether the image was there before. */
  duplicate: boolean;
  error: Failure | null;
  /** How often the daemon has lost what it made of it. Earlier versions have not stored that. */
  losses?: number;
}

/** A manifest, and when its image was uploaded, which is its place in lists. Earlier versions have not stored that. */
export type StoredManifest = Manifest & { uploaded_at?: string };

/** The uploads whose sources are kept until the files of their image are in R2. Earlier versions have not stored that. */
interface Sources {
  uploads?: string[];
}

export type ImageState =
  /** run identifies this attempt to store it: messages of earlier ones are ignored. */
  | ({ status: "storing"; manifest: StoredManifest; stored: number; run: string } & Sources)
  /** The manifest's id is that of its set: another one, after a remake. aliases are the ids that lead here. */
  | { status: "done"; manifest: StoredManifest; words?: Partial<Words>; aliases?: string[] }
  | ({ status: "failed"; manifest: StoredManifest; stored: number; error: Failure } & Sources)
  /** Shown nowhere, until it is restored or deleted. */
  | { status: "trashed"; manifest: StoredManifest; words?: Partial<Words>; aliases?: string[]; trashed_at: string }
  /**
   * Kept, so that late messages do not restore a deleted image. sets are the ids under which it had files,
   * uploads those whose sources were kept for it; shown_until is absent if it was not shown, but in the trash,
   * for example.
   */
  | {
      status: "deleted";
      deleted_at: string;
      shown_until?: string;
      sets?: string[];
      aliases?: string[];
      uploads?: string[];
    }
  /** The id of a set that another image has: it is the same image. */
  | { status: "alias"; of: string };

/** The work on all images after a change of the ladder. */
export interface RemakeState {
  run: string;
  /** Counts what has been saved. */
  step: number;
  /** Not before that does somebody else go on, ms since 1970. */
  resume_at: number;
  finished_at: string | null;
  /** The image that is being made, from the set that it has to the one that it gets. */
  current: { id: string; job: string | null; manifest: Manifest | null; old: Manifest | null; stored: number } | null;
  /** Images after that, and where KV lists more of them. */
  pending: string[];
  cursor: string | null;
  listed: boolean;
  done: number;
  unchanged: number;
  /** Codes by id. */
  failed: Record<string, string>;
}

/** A walk through the inbox, by a chain of messages. */
export interface WalkState {
  /** Of the messages that belong to it; "" if none is under way. */
  run: string;
  /** The upload after which the next walk begins. */
  after: string;
  /** Not before that does another one begin, ms since 1970. */
  resume_at: number;
}

/** Where the source of an upload is. */
export const inboxKey = (upload: string) => `inbox/${upload}`;
const uploadKey = (id: string) => `state/uploads/${id}.json`;
const imageKey = (id: string) => `state/images/${id}.json`;
const remakeKey = "state/remake.json";
const walkKey = "state/inbox.json";
export const trashPrefix = "state/trash/";
const asJSON = { contentType: "application/json" };

/** The record of an image in the trash since this time; later ones are before it. */
export function trashKey(id: string, trashed_at: string): string {
  return `${trashPrefix}${String(9_999_999_999_999 - Date.parse(trashed_at)).padStart(13, "0")}-${id}`;
}

export function readUpload(env: Env, id: string): Promise<UploadState | null> {
  return read(env, uploadKey(id));
}

export async function createUpload(env: Env, id: string, state: UploadState): Promise<void> {
  await env.IMAGES.put(uploadKey(id), JSON.stringify(state), { httpMetadata: asJSON });
}

/** Like changeImage; an upload that does not exist stays so. */
export function changeUpload(
  env: Env,
  id: string,
  step: (state: UploadState) => UploadState,
): Promise<UploadState | null> {
  return change<UploadState, UploadState | null>(env, uploadKey(id), (before) => before && step(before));
}

export function readImage(env: Env, id: string): Promise<ImageState | null> {
  return read(env, imageKey(id));
}

/** Reads an image by its id or by one that leads to it. Returns its own id too. */
export async function resolveImage(env: Env, id: string): Promise<{ id: string; state: ImageState | null }> {
  let state = await readImage(env, id);
  for (let steps = 0; state?.status === "alias" && steps < 5; steps++) {
    id = state.of;
    state = await readImage(env, id);
  }
  return { id, state };
}

export function readRemake(env: Env): Promise<RemakeState | null> {
  return read(env, remakeKey);
}

export function changeRemake<S extends RemakeState | null>(
  env: Env,
  step: (state: RemakeState | null) => S,
): Promise<S> {
  return change(env, remakeKey, step);
}

export function changeWalk<S extends WalkState | null>(env: Env, step: (state: WalkState | null) => S): Promise<S> {
  return change(env, walkKey, step);
}

/** Creates the state of an image; false if it has one. */
export async function createImage(env: Env, id: string, state: ImageState): Promise<boolean> {
  const onlyIf = { etagDoesNotMatch: "*" };
  return (await env.IMAGES.put(imageKey(id), JSON.stringify(state), { httpMetadata: asJSON, onlyIf })) !== null;
}

/**
 * Atomically replaces an image's state by what step returns for it. Returning
 * the same object changes nothing. Returns the new state.
 */
export function changeImage<S extends ImageState | null>(
  env: Env,
  id: string,
  step: (state: ImageState | null) => S,
): Promise<S> {
  return change(env, imageKey(id), step);
}

/** Reads an image. change is changeImage for it, and reads it again only if it is another one by then. */
export async function openImage(
  env: Env,
  id: string,
): Promise<{
  state: ImageState | null;
  change: <S extends ImageState | null>(step: (state: ImageState | null) => S) => Promise<S>;
}> {
  const version = await load<ImageState>(env, imageKey(id));
  return { state: version.state, change: (step) => change(env, imageKey(id), step, version) };
}

/** A state as it was read; etag is null if there was none. */
interface Version<T> {
  state: T | null;
  etag: string | null;
}

async function load<T>(env: Env, key: string): Promise<Version<T>> {
  const object = await env.IMAGES.get(key);
  return object === null ? { state: null, etag: null } : { state: await object.json<T>(), etag: object.etag };
}

async function read<T>(env: Env, key: string): Promise<T | null> {
  return (await load<T>(env, key)).state;
}

async function change<T, S extends T | null>(
  env: Env,
  key: string,
  step: (state: T | null) => S,
  known?: Version<T>,
): Promise<S> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const { state: before, etag } = (attempt === 0 && known) || (await load<T>(env, key));
    const after = step(before);
    if (after === null || after === before) return after;
    const onlyIf = etag === null ? { etagDoesNotMatch: "*" } : { etagMatches: etag };
    const written = await env.IMAGES.put(key, JSON.stringify(after), { httpMetadata: asJSON, onlyIf });
    if (written !== null) return after;
  }
  throw new Error(`too many concurrent changes of ${key}`);
}
