// What this tab has added and deleted in the last minutes. The list that the
// Worker reads is eventually consistent: for a minute or so it may lack what is
// new, and still have what is gone, even after a reload.

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
    return []; // Storage may be switched off; then the list is taken as it is.
  }
}

function remember(id: string, image: Image | null): void {
  try {
    const others = changes().filter((change) => change.id !== id);
    sessionStorage.setItem(key, JSON.stringify([{ id, at: Date.now(), image }, ...others]));
  } catch {
    // As above.
  }
}

export const added = (image: Image) => remember(image.id, image);
export const deleted = (id: string) => remember(id, null);

/** A page of the list as it will be when all is consistent. */
export function corrected(images: readonly Image[], isFirst: boolean): Image[] {
  const recent = changes();
  const gone = new Set(recent.filter(({ image }) => !image).map(({ id }) => id));
  const fresh = isFirst ? recent.flatMap(({ image }) => (image ? [image] : [])) : [];
  const shown = new Set(fresh.map(({ id }) => id));
  return [...fresh, ...images.filter(({ id }) => !gone.has(id) && !shown.has(id))];
}
