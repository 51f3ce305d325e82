// A picture in a size, format or quality that is not stored is ordered from the
// daemon, checked, and stored beside the others:
//
//   <id>/640.webp          as the manifest has it
//   <id>/q-high/640.webp   ordered, at this quality; medium is the ladder's own

import type { Format, Job } from "./api";
import type { Env } from "./env";
import { extensions, parseKey, pullFile } from "./files";
import { OptimizerError, getJob, postJob } from "./optimizer";
import { forget } from "./pull";
import { readImage } from "./state";

export const qualities = ["low", "medium", "high"] as const;
export type Quality = (typeof qualities)[number];

/** Seconds that a reader waits for an encoder. */
const longestWait = 20;

export interface Order {
  id: string;
  width: number;
  format: Format;
  quality: Quality;
}

export function orderKey({ id, width, format, quality }: Order): string {
  return `${id}/q-${quality}/${width}.${extensions[format]}`;
}

/** Resolves when the picture is in R2. */
export async function order(env: Env, wanted: Order): Promise<void> {
  const { id, width, format, quality } = wanted;
  let job: Job = await postJob(env, {
    input: `image:${id}`,
    options: quality === "medium" ? { width, format } : { width, format, quality },
  });
  if (job.finished_at === null) job = await getJob(env, job.id, longestWait);
  if (job.finished_at === null) {
    throw new OptimizerError(0, "optimizer_unavailable", "The optimizer is not finished yet.", 10);
  }
  if (job.error !== null) throw new OptimizerError(0, job.error.code, job.error.message);

  const output = job.output;
  if (output === null || !("sha256" in output))
    throw new OptimizerError(0, "optimizer_unavailable", "The job has no file.");
  // The URL leads where the daemon likes; only the name in it is taken.
  const [, key = ""] = /\/files\/([^/]+\/[^/]+)$/.exec(new URL(output.url).pathname) ?? [];
  const parsed = parseKey(key);
  if (parsed === null || parsed.extension !== extensions[format] || output.format !== format || output.width > width) {
    throw new OptimizerError(0, "optimizer_unavailable", "The job's file is not what was ordered.");
  }
  await pullFile(env, { key, format, bytes: output.bytes, sha256: output.sha256 }, orderKey(wanted));
  // The daemon keeps it as an image of its own. From here on R2 has it, and the
  // deletion of this image would not reach that one.
  await forget(env, parsed.id);
  if ((await readImage(env, id))?.status !== "done") {
    await env.IMAGES.delete(orderKey(wanted)); // it was deleted meanwhile
    throw new OptimizerError(0, "not_found", "The image was deleted.");
  }
}
