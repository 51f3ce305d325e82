// Images added, described and deleted in this tab in the last minutes. A list may
// come from a cache or from KV: for a minute or so it may lack new images and still
// contain deleted ones, even after a reload.

import type { Image } from "./api";

const kept = 5 * 60_000;
const key = "recent";

interface Change {
  id: string;
  at: number;
  /** Null: deleted. */
  image: Image | null;
  /** Whether the list has it already. */
  listed?: boolean;
}

function changes(): Change[] {
  try {
    const stored = JSON.parse(sessionStorage.getItem(key) ?? "[]") as Change[];
    return stored.filter(({ at }) => Date.now() - at < kept);
  } catch {
    return []; // Storage may be disabled; then the list is used as it is.
  }
}

function record(id: string, image: Image | null, isListed = false): void {
  try {
    const before = changes();
    const others = before.filter((change) => change.id !== id);
    // A new image that is described stays a new one.
    const listed = isListed && !before.some((change) => change.id === id && change.image && !change.listed);
    sessionStorage.setItem(key, JSON.stringify([{ id, at: Date.now(), image, listed }, ...others]));
  } catch {
    // As above.
  }
}

export const added = (image: Image) => record(image.id, image);
/** Its place in the list stays. */
export const changed = (image: Image) => record(image.id, image, true);
export const deleted = (id: string) => record(id, null);

export function restored(id: string): void {
  try {
    sessionStorage.setItem(key, JSON.stringify(changes().filter((change) => change.id !== id)));
  } catch {
    // As above.
  }
}

/** Returns a page of a list with this tab's changes applied: first are new images that belong there. */
export function corrected(images: readonly Image[], belongs: (image: Image) => boolean): Image[] {
  const recent = changes();
  const gone = new Set(recent.filter(({ image }) => !image).map(({ id }) => id));
  const known = new Map(recent.flatMap(({ image }) => (image ? [[image.id, image] as const] : [])));
  const fresh = recent.flatMap(({ image, listed }) => (image && !listed && belongs(image) ? [image] : []));
  // As in the list: uploads run side by side, and this tab may hear of them in another order.
  fresh.sort((a, b) => b.uploaded_at.localeCompare(a.uploaded_at));
  const shown = new Set(fresh.map(({ id }) => id));
  const rest = images.filter(({ id }) => !gone.has(id) && !shown.has(id));
  return [...fresh, ...rest.map((image) => known.get(image.id) ?? image)];
}
