// The daemon's files in R2, under their keys in the manifest.

import type { Format } from "./api";
import type { Env } from "./env";
import { OptimizerError, optimizer } from "./optimizer";

const contentTypes: Record<Format, string> = { webp: "image/webp", jpeg: "image/jpeg", avif: "image/avif" };
export const extensions: Record<Format, string> = { webp: "webp", jpeg: "jpg", avif: "avif" };

export const idPattern = /^[a-z2-7]{26}$/;
const keyPattern = /^([a-z2-7]{26})\/([1-9][0-9]{0,4})\.(webp|jpg|avif)$/;

export interface FileKey {
  id: string;
  width: number;
  extension: string;
}

/** Parses a key of the daemon; null if it is not one. */
export function parseKey(key: string): FileKey | null {
  const [, id, width, extension] = keyPattern.exec(key) ?? [];
  if (id === undefined || width === undefined || extension === undefined) return null;
  return { id, width: Number(width), extension };
}

export interface RemoteFile {
  /** The daemon's key, validated by parseKey. */
  key: string;
  format: Format;
  bytes: number;
  sha256: string;
}

/** For one complete file, ms. */
const pullTimeout = 60_000;

/**
 * Pulls one file into R2, under its own key or another. R2 verifies its digest
 * against the manifest; on a mismatch an existing object is kept.
 */
export async function pullFile(env: Env, file: RemoteFile, key = file.key): Promise<void> {
  const response = await optimizer(env, `/files/${file.key}`, {
    // A compressed response has no length, which R2 requires.
    headers: { "Accept-Encoding": "identity" },
    signal: AbortSignal.timeout(pullTimeout),
  });
  if (response.body === null || Number(response.headers.get("Content-Length")) !== file.bytes) {
    await response.body?.cancel();
    throw new OptimizerError(502, "optimizer_unavailable", `The length of ${file.key} does not match its manifest.`);
  }
  await env.IMAGES.put(key, response.body, {
    sha256: file.sha256,
    httpMetadata: { contentType: contentTypes[file.format] },
  });
}

/**
 * Stores a file of the daemon under another key: from this bucket, if the daemon writes
 * there, or from the daemon.
 */
export async function copyFile(env: Env, file: RemoteFile, key: string): Promise<void> {
  const object = env.DIRECT ? await env.IMAGES.get(file.key) : null;
  if (object === null) return pullFile(env, file, key);
  await env.IMAGES.put(key, object.body, {
    sha256: file.sha256,
    httpMetadata: { contentType: contentTypes[file.format] },
  });
}

/** Whether the daemon has written a complete set into this bucket: it writes the manifest last. */
export async function hasSet(env: Env, id: string): Promise<boolean> {
  return (await env.IMAGES.head(`${id}/manifest.json`)) !== null;
}

/**
 * Runs work on all items, at most atOnce in parallel. Stops after the first
 * error, once all running work has ended.
 */
export async function inParallel<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const errors: unknown[] = [];
  const rest = items.values();
  const worker = async () => {
    for (const item of rest) {
      if (errors.length > 0) return;
      await work(item).catch((error: unknown) => errors.push(error));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (errors.length > 0) throw errors[0];
}
