// The blurred preview that stands where a picture will be.

import { thumbHashToDataURL } from "thumbhash";
import type { Image } from "./api";
import { make } from "./page";

/** Fills its parent. Without a hash that can be read it is the picture's colour. */
export function placeholder(image: Image): HTMLElement {
  const blur = make("div", { className: "blur" });
  blur.style.backgroundColor = image.color;
  try {
    const bytes = Uint8Array.from(atob(image.thumbhash), (char) => char.charCodeAt(0));
    blur.style.backgroundImage = `url(${thumbHashToDataURL(bytes)})`;
  } catch {
    // The colour is there.
  }
  return blur;
}
