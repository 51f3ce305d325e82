// Images added and deleted in this tab in the last minutes. The Worker's list
// is eventually consistent: for a minute or so it may lack new images and still
// contain deleted ones, even after a reload.

import type { Image } from "./api";

const kept = 5 * 60_000;
const key = "recent";

interface Change {
  id: string;
  at: number;
  /** Null: deleted. */
  image: Image | null;
}

function changes(): Change[] {
  try {
    const stored = JSON.parse(sessionStorage.getItem(key) ?? "[]") as Change[];
    return stored.filter(({ at }) => Date.now() - at < kept);
  } catch {
    return []; // Storage may be disabled; then the list is used as it is.
  }
}

function record(id: string, image: Image | null): void {
  try {
    const others = changes().filter((change) => change.id !== id);
    sessionStorage.setItem(key, JSON.stringify([{ id, at: Date.now(), image }, ...others]));
  } catch {
    // As above.
  }
}

export const added = (image: Image) => record(image.id, image);
export const deleted = (id: string) => record(id, null);

/** Returns a page of the list with this tab's changes applied. */
export function corrected(images: readonly Image[], isFirst: boolean): Image[] {
  const recent = changes();
  const gone = new Set(recent.filter(({ image }) => !image).map(({ id }) => id));
  const fresh = isFirst ? recent.flatMap(({ image }) => (image ? [image] : [])) : [];
  const shown = new Set(fresh.map(({ id }) => id));
  return [...fresh, ...images.filter(({ id }) => !gone.has(id) && !shown.has(id))];
}
