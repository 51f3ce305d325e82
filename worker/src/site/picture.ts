// The <picture> of an image: every size and format that is stored of it, for
// the browser to choose from.

import type { Format } from "../api";
import type { Image } from "./api";
import { make } from "./page";
import { placeholder } from "./thumb";
import { nameOf } from "./words";

// From the smallest files to the largest. Whatever shows one shows those after it.
const formats: Format[] = ["avif", "webp", "jpeg"];

interface Source {
  /** Of the <source>; none for the <img>, which takes what is left. */
  type: string | null;
  srcset: string;
}

function fileUrl(image: Image, width: number, format: Format): string {
  return `/images/${image.id}?w=${width}&f=${format}`;
}

/**
 * A file that would be no smaller than the same in the next format is not
 * stored. The gap is filled with that: a browser looks into one srcset only,
 * and would take another width in its place.
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

/** Where there is no srcset, which is in very old browsers and in copied links. */
export function fallbackUrl(image: Image): string {
  const format = [...formats].reverse().find((other) => image.formats[other]?.length) ?? "jpeg";
  return fileUrl(image, image.formats[format]?.at(-1) ?? image.width, format);
}

/** A frame of the image's shape, with the picture over its preview. */
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
   * Says how wide the picture is drawn. Only then loading begins: without this a
   * browser would choose for the whole window.
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

/** The same for pasting into another page. */
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
