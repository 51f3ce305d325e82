// A variant in a size, format or quality that is not stored is requested from
// the daemon, verified, and stored beside the others:
//
//   <id>/640.webp          from the manifest
//   <id>/q-high/640.webp   on demand, in this quality; medium is the ladder's

import type { Format, Job } from "./api";
import type { Env } from "./env";
import { copyFile, extensions, parseKey } from "./files";
import { deleteCopy, recordJob, settleJob } from "./leftovers";
import { OptimizerError, getJob, postJob } from "./optimizer";

import { readImage } from "./state";

export const qualities = ["low", "medium", "high"] as const;
export type Quality = (typeof qualities)[number];

/** Seconds that a client waits for an encoder. */
const longestWait = 20;

export interface StoredVariant {
  /** Of the image. */
  id: string;
  /** Of the set that it has its files from: the daemon knows nothing else. */
  set: string;
  width: number;
  format: Format;
  quality: Quality;
}

export function variantKey({ id, width, format, quality }: Omit<StoredVariant, "set">): string {
  return `${id}/q-${quality}/${width}.${extensions[format]}`;
}

/**
 * Resolves once the variant is in R2. A job that outlives the request is recorded, so
 * that nothing of it stays with the daemon (see leftovers.ts).
 */
export async function requestVariant(env: Env, wanted: StoredVariant): Promise<void> {
  const { set, width, format, quality } = wanted;
  let job: Job = await postJob(env, {
    input: `image:${set}`,
    options: quality === "medium" ? { width, format } : { width, format, quality },
  });
  if (job.finished_at !== null) return takeVariant(env, wanted, job);
  await recordJob(env, job.id, wanted);
  job = await getJob(env, job.id, longestWait);
  if (job.finished_at === null) {
    throw new OptimizerError(0, "optimizer_unavailable", "The optimizer has not finished yet.", 10);
  }
  await takeVariant(env, wanted, job);
  await settleJob(env, job.id); // not after a failure: tick() looks at it again
}

/** Stores what a job that has ended has made, and has the daemon delete its own. */
export async function takeVariant(env: Env, wanted: StoredVariant, { error, output }: Job): Promise<void> {
  const { id, width, format } = wanted;
  if (error !== null) throw new OptimizerError(422, error.code, error.message);
  if (output === null || !("sha256" in output)) throw new OptimizerError(422, "not_found", "The job has no file.");
  // Use only the name from the URL, not its host.
  const [, key = ""] = /\/files\/([^/]+\/[^/]+)$/.exec(new URL(output.url).pathname) ?? [];
  const parsed = parseKey(key);
  if (parsed === null || parsed.extension !== extensions[format] || output.format !== format || output.width > width) {
    throw new OptimizerError(422, "optimizer_unavailable", "The job's file is not the requested variant.");
  }
  const isThere = async () => (await readImage(env, id))?.status === "done";
  const stored = await isThere();
  if (stored) await copyFile(env, { key, format, bytes: output.bytes, sha256: output.sha256 }, variantKey(wanted));
  // The daemon stores it as a separate image. R2 has it now, and deleting this
  // image would not delete that one.
  await deleteCopy(env, parsed.id);
  if (stored && (await isThere())) return;
  await env.IMAGES.delete(variantKey(wanted)); // deleted in the meantime
  throw new OptimizerError(404, "not_found", "The image was deleted.");
}
