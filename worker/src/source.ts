// The sources of uploads: the bytes that a client has sent, in R2 (inbox/<upload>). A source is
// kept until the files of its image are in R2, too: before that the daemon may lose what it has
// made, with its disk or by a deletion there, and gets the source again. While an image is being
// stored, and after a failure of that, its state names the uploads whose sources it needs.

import type { Env } from "./env";
import { type ImageState, type UploadState, changeUpload, inboxKey } from "./state";

/** How often the daemon may lose what it has made of an upload: its retention may delete sets before they are pulled. */
const maxLosses = 3;
/** The most keys that R2 deletes in one request. */
const deletedAtOnce = 1000;

/** Whether an upload is complete, and has neither an image nor an error yet. */
export function isOpen({ multipart, image, error }: UploadState): boolean {
  return multipart === null && image === null && error === null;
}

/** Ends an upload, and deletes its source unless that is kept for its image. Only the first end has an effect. */
export async function endUpload(
  env: Env,
  id: string,
  result: Partial<UploadState>,
  isKept = false,
): Promise<UploadState | null> {
  let isFirst = false;
  const state = await changeUpload(env, id, (before) => {
    isFirst = isOpen(before);
    return isFirst ? { ...before, ...result } : before;
  });
  if (isFirst && !isKept) await deleteSources(env, [id]);
  return state;
}

/** The uploads whose sources are kept for an image. */
export function keptFor(image: ImageState | null): string[] {
  return ((image?.status === "storing" || image?.status === "failed") && image.uploads) || [];
}

/** Those of them that the daemon gets again, because it has lost the image. */
export function lostWith(image: ImageState | null): string[] {
  return image?.status === "failed" && image.error.code === "not_found" ? keptFor(image) : [];
}

/** These uploads with another one. */
export function withUpload(uploads: string[], upload: string | null): string[] {
  return upload === null || uploads.includes(upload) ? uploads : [...uploads, upload];
}

/** Deletes the sources that were kept for an image whose files are stored. An upload that has not ended yet ends with it. */
export async function settleUploads(env: Env, image: string, uploads: string[]): Promise<void> {
  for (const upload of uploads)
    await changeUpload(env, upload, (before) => (isOpen(before) ? { ...before, image } : before));
  await deleteSources(env, uploads);
}

export async function deleteSources(env: Env, uploads: string[]): Promise<void> {
  for (let from = 0; from < uploads.length; from += deletedAtOnce) {
    await env.IMAGES.delete(uploads.slice(from, from + deletedAtOnce).map(inboxKey));
  }
}

/**
 * Has an upload handed over again, after the daemon has lost what it made of it. lost is the image
 * with which the upload has ended or, before that, the job: if it has another one by now, this
 * changes nothing. After maxLosses losses the upload fails.
 */
export async function sendAgain(env: Env, id: string, lost: string): Promise<UploadState | null> {
  const state = await changeUpload(env, id, (before) => {
    if (before.image !== lost && !(isOpen(before) && before.job === lost)) return before;
    const losses = (before.losses ?? 0) + 1;
    const state = { ...before, job: null, image: null, losses };
    return losses < maxLosses ? { ...state, next_at: 0, reason: isLost } : { ...state, error: isLostAgain };
  });
  if (state?.error) await deleteSources(env, [id]);
  return state;
}

const isLost = {
  code: "image_lost",
  message: "The optimizer lost the image before its files were stored. It gets the image again.",
};
const isLostAgain = {
  code: "image_lost",
  message:
    `The optimizer lost the image ${maxLosses} times before its files were stored. ` +
    "Check the optimizer's disk and its retention, then send the image again.",
};
