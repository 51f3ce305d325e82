// What another page needs to show an image: URLs, sources, HTML. Pure; the site
// uses it too.

import type { Format, Image } from "./api";

// From the smallest files to the largest. A browser that supports one supports
// the following ones.
const formats: Format[] = ["avif", "webp", "jpeg"];

export interface Source {
  /** The format of the candidates where it is available. */
  format: Format;
  /** Of the <source>; null for the <img>, the fallback. */
  type: string | null;
  srcset: string;
  /** Of a <source> that is not for everybody. */
  media?: string;
}

/** Descriptions that earlier versions have published do not say whether an image moves. */
type Sized = Pick<Image, "id" | "width" | "height" | "formats"> & Partial<Pick<Image, "animated">>;

export function fileUrl({ id }: Pick<Image, "id">, width: number, format: Format, base = ""): string {
  return `${base}/images/${id}?w=${width}&f=${format}`;
}

/** still: an animation is its first frame. Otherwise it moves for those who have not asked for less motion. */
export function sourcesOf(image: Sized, base = "", still = false): Source[] {
  const { webp, ...others } = image.formats;
  // In a ladder of WebP alone there is no file with the first frame.
  if (!image.animated || !webp || Object.keys(others).length === 0) return sourcesIn(image.formats, image, base);
  const media = "(prefers-reduced-motion: no-preference)";
  const moving = still ? [] : sourcesIn({ webp }, image, base).map((source) => ({ ...source, media }));
  return [...moving, ...sourcesIn(others, image, base)];
}

/**
 * A file that would be no smaller than the next format's is not stored. The gap
 * is filled with that one: a browser uses a single srcset, and would choose
 * another width instead.
 */
function sourcesIn(files: Image["formats"], image: Sized, base: string): Source[] {
  const widths = [...new Set(formats.flatMap((format) => files[format] ?? []))].sort((a, b) => a - b);
  return formats.flatMap((format, i) => {
    if (!files[format]?.length) return [];
    const candidates = widths.flatMap((width) => {
      const best = formats.slice(i).find((other) => files[other]?.includes(width));
      return best ? [`${fileUrl(image, width, best, base)} ${width}w`] : [];
    });
    const type = i === formats.length - 1 ? null : `image/${format}`;
    return [{ format, type, srcset: candidates.join(", ") }];
  });
}

/** The largest file in the most compatible format: for browsers without srcset, and for links. */
export function srcOf(image: Sized, base = ""): string {
  const format = [...formats].reverse().find((other) => image.formats[other]?.length) ?? "jpeg";
  return fileUrl(image, image.formats[format]?.at(-1) ?? image.width, format, base);
}

/** HTML for another page, which need not know anything else of the image. */
export function pictureHtml(image: Sized & Pick<Image, "alt" | "color">, base = ""): string {
  const attributes = (values: Record<string, string | number>) =>
    Object.entries(values)
      .map(([name, value]) => ` ${name}="${escapeHtml(`${value}`)}"`)
      .join("");
  // No wider than what is stored. Browsers that know auto use the width in the page.
  const most = Math.max(...Object.values(image.formats).flat());
  const sizes = `auto, (min-width: ${most}px) ${most}px, 100vw`;
  let html = "<picture>\n";
  let srcset = "";
  for (const { type, media, ...source } of sourcesOf(image, base)) {
    if (type) html += `  <source${attributes({ type, ...(media && { media }), srcset: source.srcset, sizes })}>\n`;
    else srcset = source.srcset;
  }
  const { width, height, alt } = image;
  const img = { src: srcOf(image, base), ...(srcset && { srcset, sizes }), width, height, alt };
  const style = `background:${image.color};max-width:100%;height:auto`;
  return `${html}  <img${attributes({ ...img, loading: "lazy", decoding: "async", style })}>\n</picture>\n`;
}

/** A linked image in Markdown. */
export function markdownOf(image: Sized & Pick<Image, "alt">, base: string): string {
  const alt = image.alt.replace(/[[\]\\]/g, "\\$&");
  return `[![${alt}](${srcOf(image, base)})](${pageUrl(image, base)})`;
}

export function pageUrl({ id }: Pick<Image, "id">, base = ""): string {
  return `${base}/p/${id}`;
}

/** A text that stands for an image; "" if nobody has written any. */
export function titleOf({ title, alt }: Pick<Image, "title" | "alt">): string {
  return title || alt;
}

export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
