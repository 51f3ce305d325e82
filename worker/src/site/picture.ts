// The <picture> element of an image: all stored sizes and formats, for the
// browser to choose from.

import type { Format } from "../api";
import type { Image } from "./api";
import { make } from "./page";
import { placeholder } from "./thumb";
import { nameOf } from "./words";

// From the smallest files to the largest. A browser that supports one supports
// the following ones.
const formats: Format[] = ["avif", "webp", "jpeg"];

interface Source {
  /** Of the <source>; null for the <img>, the fallback. */
  type: string | null;
  srcset: string;
}

function fileUrl(image: Image, width: number, format: Format): string {
  return `/images/${image.id}?w=${width}&f=${format}`;
}

/**
 * A file that would be no smaller than the next format's is not stored. The gap
 * is filled with that one: a browser uses a single srcset, and would choose
 * another width instead.
 */
function sources(image: Image): Source[] {
  const widths = [...new Set(formats.flatMap((format) => image.formats[format] ?? []))].sort((a, b) => a - b);
  return formats.flatMap((format, i) => {
    if (!image.formats[format]?.length) return [];
    const candidates = widths.flatMap((width) => {
      const best = formats.slice(i).find((other) => image.formats[other]?.includes(width));
      return best ? [`${fileUrl(image, width, best)} ${width}w`] : [];
    });
    return [{ type: i === formats.length - 1 ? null : `image/${format}`, srcset: candidates.join(", ") }];
  });
}

/** For very old browsers without srcset, and for copied links. */
export function fallbackUrl(image: Image): string {
  const format = [...formats].reverse().find((other) => image.formats[other]?.length) ?? "jpeg";
  return fileUrl(image, image.formats[format]?.at(-1) ?? image.width, format);
}

/** A frame with the image's aspect ratio and its preview. */
export class Frame {
  readonly element = make("div", { className: "frame" });
  readonly #img = make("img");
  readonly #picture = make("picture");
  #begun = false;

  constructor(readonly image: Image) {
    this.element.style.setProperty("--ratio", `${image.width / image.height}`);
    Object.assign(this.#img, { alt: nameOf(image), width: image.width, height: image.height, decoding: "async" });
    this.#img.addEventListener("load", () => this.element.classList.add("loaded"));
    this.#picture.append(this.#img);
    this.element.append(placeholder(image), this.#picture);
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
    for (const { type, srcset } of sources(this.image)) {
      if (type) this.#img.before(make("source", { type, srcset, sizes }));
      else this.#img.srcset = srcset;
    }
    this.#img.src = fallbackUrl(this.image);
  }
}

/** The same as HTML, for pasting into another page. */
export function pictureHtml(image: Image, origin: string): string {
  const absolute = (text: string) => text.replaceAll("/images/", `${origin}/images/`);
  const attributes = (values: Record<string, string | number>) =>
    Object.entries(values)
      .map(([name, value]) => ` ${name}="${escapeHtml(`${value}`)}"`)
      .join("");
  const sizes = `(min-width: ${image.width}px) ${image.width}px, 100vw`;
  let html = "<picture>\n";
  let srcset = "";
  for (const source of sources(image)) {
    if (source.type) html += `  <source${attributes({ type: source.type, srcset: absolute(source.srcset), sizes })}>\n`;
    else srcset = absolute(source.srcset);
  }
  const { width, height } = image;
  const img = { src: absolute(fallbackUrl(image)), ...(srcset && { srcset, sizes }), width, height, alt: image.alt };
  return `${html}  <img${attributes({ ...img, loading: "lazy", decoding: "async" })}>\n</picture>\n`;
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
}
