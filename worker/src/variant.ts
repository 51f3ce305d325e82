// A variant in a size, format or quality that is not stored is requested from
// the daemon, verified, and stored beside the others:
//
//   <id>/640.webp          from the manifest
//   <id>/q-high/640.webp   on demand, in this quality; medium is the ladder's

import type { Format, Job } from "./api";
import type { Env } from "./env";
import { extensions, parseKey, pullFile } from "./files";
import { OptimizerError, getJob, postJob } from "./optimizer";
import { deleteCopy } from "./pull";
import { readImage } from "./state";

export const qualities = ["low", "medium", "high"] as const;
export type Quality = (typeof qualities)[number];

/** Seconds that a client waits for an encoder. */
const longestWait = 20;

export interface StoredVariant {
  id: string;
  width: number;
  format: Format;
  quality: Quality;
}

export function variantKey({ id, width, format, quality }: StoredVariant): string {
  return `${id}/q-${quality}/${width}.${extensions[format]}`;
}

/** Resolves once the variant is in R2. */
export async function requestVariant(env: Env, wanted: StoredVariant): Promise<void> {
  const { id, width, format, quality } = wanted;
  let job: Job = await postJob(env, {
    input: `image:${id}`,
    options: quality === "medium" ? { width, format } : { width, format, quality },
  });
  if (job.finished_at === null) job = await getJob(env, job.id, longestWait);
  if (job.finished_at === null) {
    throw new OptimizerError(0, "optimizer_unavailable", "The optimizer has not finished yet.", 10);
  }
  if (job.error !== null) throw new OptimizerError(0, job.error.code, job.error.message);

  const output = job.output;
  if (output === null || !("sha256" in output))
    throw new OptimizerError(0, "optimizer_unavailable", "The job has no file.");
  // Use only the name from the URL, not its host.
  const [, key = ""] = /\/files\/([^/]+\/[^/]+)$/.exec(new URL(output.url).pathname) ?? [];
  const parsed = parseKey(key);
  if (parsed === null || parsed.extension !== extensions[format] || output.format !== format || output.width > width) {
    throw new OptimizerError(0, "optimizer_unavailable", "The job's file is not the requested variant.");
  }
  await pullFile(env, { key, format, bytes: output.bytes, sha256: output.sha256 }, variantKey(wanted));
  // The daemon stores it as a separate image. R2 has it now, and deleting this
  // image would not delete that one.
  await deleteCopy(env, parsed.id);
  if ((await readImage(env, id))?.status !== "done") {
    await env.IMAGES.delete(variantKey(wanted)); // deleted in the meantime
    throw new OptimizerError(0, "not_found", "The image was deleted.");
  }
}
