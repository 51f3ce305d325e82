// The blurred preview of an image.

import { thumbHashToDataURL } from "thumbhash";
import type { Image } from "./api";
import { make } from "./page";

/** Fills its parent. If the hash is unreadable it is the image's color. */
export function placeholder(image: Image): HTMLElement {
  const blur = make("div", { className: "blur" });
  blur.style.backgroundColor = image.color;
  try {
    const bytes = Uint8Array.from(atob(image.thumbhash), (char) => char.charCodeAt(0));
    blur.style.backgroundImage = `url(${thumbHashToDataURL(bytes)})`;
  } catch {
    // The color remains.
  }
  return blur;
}
