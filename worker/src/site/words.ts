// Longer texts of the page.

import type { Image } from "../api";
import { titleOf } from "../embed";

export const unreachable = "The gallery could not be reached. Check the connection and try again.";
export const cutOff = "The connection was lost during the upload. Try again.";
export const offline = "You are offline. The upload continues when you are back online.";
export const unreadable = "This file cannot be read any more: it was changed, moved or deleted. Add it again.";
export const saved = "Saved. It will be processed when the optimizer is back.";
export const late = "This is taking longer than usual. The image will appear in the gallery when it is ready.";
export const signedOut = "You are signed out. Sign in to continue.";

export const locked = "This gallery is private. Sign in to see it.";
export const copied = "Link copied.";
export const notCopied = "This browser does not allow copying.";
export const offered = "Another app or site has sent this. Add it if that was you.";
export const toShare = "Sign in to add what you shared.";
export const notShared = "Some or all of what you shared did not arrive. Share it again.";
export const invited = "You can now add images here.";
export const linkCopied = "Link copied. Anyone who has it can see this image for 30 days.";

/** For responses without an explanation. */
export function broken(status: number): string {
  return `The gallery answered with an error (${status}). Try again later.`;
}

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });

/** time is RFC 3339. */
export const dateOf = (time: string) => dates.format(new Date(time));

const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
export const timeOf = (time: string) => times.format(new Date(time));

export const countOf = (images: number) => (images === 1 ? "1 image" : `${images} images`);

export function foundNothing(q: string, tag: string | null): string {
  return tag === null ? `Nothing was found for “${q}”.` : `Nothing was found for “${q}” among images tagged “${tag}”.`;
}

/** A text for an image: its title, what is on it, or its date. */
export function nameOf(image: Image): string {
  return titleOf(image) || `Image of ${dateOf(image.created_at)}`;
}

export function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
