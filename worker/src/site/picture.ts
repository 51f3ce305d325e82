// The <picture> element of an image: all stored sizes and formats, for the
// browser to choose from.

import { sourcesOf, srcOf } from "../embed";
import type { Image } from "./api";
import { make } from "./page";
import { placeholder } from "./thumb";
import { nameOf } from "./words";

/** ms */
const retryAfter = 2000;

/** A frame with the image's aspect ratio and its preview. */
export class Frame {
  readonly element = make("div", { className: "frame" });
  /** Settles when the file is there; never, if it fails. */
  readonly loaded: Promise<void>;
  readonly #img = make("img");
  readonly #picture = make("picture");
  #begun = false;
  #retried = false;

  /** moves: an animation is more than its first frame, unless the visitor has asked for less motion. */
  constructor(
    readonly image: Image,
    private readonly moves = false,
  ) {
    this.element.style.setProperty("--ratio", `${image.width / image.height}`);
    Object.assign(this.#img, {
      alt: image.alt || nameOf(image),
      width: image.width,
      height: image.height,
      decoding: "async",
    });
    this.loaded = new Promise((resolve) => {
      this.#img.addEventListener("load", () => {
        this.element.classList.add("loaded");
        resolve();
      });
    });
    this.#img.addEventListener("error", () => this.#failed());
    this.#picture.append(this.#img);
    this.element.append(this.#picture, placeholder(image));
  }

  /**
   * Sets the displayed width and starts loading: without it a browser would
   * choose for the full window.
   */
  load(sizes: string, urgent: boolean): void {
    const sourceElements = [...this.#picture.getElementsByTagName("source"), this.#img];
    for (const element of sourceElements) element.sizes = sizes;
    if (this.#begun) return;
    this.#begun = true;
    this.#img.loading = urgent ? "eager" : "lazy";
    this.#img.fetchPriority = urgent ? "high" : "auto";
    for (const { type, srcset, media = "" } of sourcesOf(this.image, "", !this.moves)) {
      if (type) this.#img.before(make("source", { type, srcset, sizes, media }));
      else this.#img.srcset = srcset;
    }
    this.#img.src = srcOf(this.image);
  }

  /** Tries once more: it may have been a moment without a connection. Then the alternative text is shown. */
  #failed(): void {
    if (this.#retried) {
      this.element.classList.add("broken");
      return;
    }
    this.#retried = true;
    setTimeout(() => {
      this.#img.src = srcOf(this.image);
    }, retryAfter);
  }
}
