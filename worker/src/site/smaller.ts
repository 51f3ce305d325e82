// Smaller copies of photos, for slow connections: made here, before they are sent.

import { find } from "./page";
import { withDate } from "./taken";

/** As wide as the widest file of the default ladder. */
const widest = 2048;
const quality = 0.92;
/** A copy that saves less than this is not worth its loss. */
const worthwhile = 0.8;
// Others may be animated, transparent, or drawings whose edges JPEG would blur.
const types = /^image\/(jpeg|heic|heif)$/;

const key = "smaller";
const box = find<HTMLInputElement>("smaller");
try {
  box.checked = localStorage.getItem(key) !== null;
} catch {
  // Storage may be disabled; then the choice lasts as long as the page.
}
box.addEventListener("change", () => {
  try {
    if (box.checked) localStorage.setItem(key, "1");
    else localStorage.removeItem(key);
  } catch {
    // As above.
  }
});

/** Returns what to send of a file: a copy, if that is wanted and much smaller, or the file itself. */
export async function smaller(file: File): Promise<File> {
  if (!box.checked || !types.test(file.type)) return file;
  // What this browser cannot decode, the optimizer may.
  const image = await createImageBitmap(file).catch(() => null);
  if (image === null || image.width <= widest) return file;
  const scale = widest / image.width;
  const canvas = document.createElement("canvas");
  canvas.width = widest;
  canvas.height = Math.round(image.height * scale);
  const context = canvas.getContext("2d");
  if (context) context.imageSmoothingQuality = "high";
  context?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  // Null if the canvas is larger than the browser allows.
  const copy = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
  if (copy === null || copy.size > file.size * worthwhile) return file;
  const { name, lastModified } = file;
  return new File([withDate(copy, await file.arrayBuffer())], name.replace(/\.hei[cf]$/i, ".jpg"), {
    type: copy.type,
    lastModified,
  });
}
