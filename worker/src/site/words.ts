// What the page says to people, where that takes more than a word.

import type { Image } from "../api";

export const unreachable = "The gallery could not be reached. Check the connection and try again.";
export const cutOff = "The connection broke before the picture was there. Try again.";
export const late = "This takes longer than it should. It will appear in the gallery when it is done.";
export const signedOut = "You are signed out. Sign in to go on.";

/** For answers that hold no explanation. */
export function broken(status: number): string {
  return `The gallery answered with an error (${status}). Try again in a while.`;
}

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });

/** What stands for a picture in words: what is known of it, or when it came. */
export function nameOf(image: Image): string {
  return image.alt || `Picture of ${dates.format(new Date(image.created_at))}`;
}

export function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
