// Longer texts of the page.

import type { Image } from "../api";

export const unreachable = "The gallery could not be reached. Check the connection and try again.";
export const cutOff = "The connection was lost during the upload. Try again.";
export const late = "This takes longer than it should. It will appear in the gallery when it is done.";
export const signedOut = "You are signed out. Sign in to continue.";

/** For responses without an explanation. */
export function broken(status: number): string {
  return `The gallery answered with an error (${status}). Try again later.`;
}

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });

/** A text for an image: its alt text, or its date. */
export function nameOf(image: Image): string {
  return image.alt || `Image of ${dates.format(new Date(image.created_at))}`;
}

export function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
