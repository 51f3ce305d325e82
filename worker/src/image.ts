// What readers are told of an image. All of it is made from the manifest.

import type { Format, Image, Manifest, Variant } from "./api";
import { extensions, parseKey } from "./files";

/** A ladder of sixteen widths in three formats. What is drawn of an image must fit into the metadata of a KV entry. */
export const maxFiles = 48;
const maxAlt = 100;

/** What is left of an image's id in a KV listing: the key has that. */
export type ImageMetadata = Omit<Image, "id">;

/** The value of an image's KV entry: what a site needs to embed it, and where its files are. */
export interface ImageEntry extends Image {
  /** By format, the value of an HTML srcset, relative to this Worker. */
  srcset: Partial<Record<Format, string>>;
  /** The files in R2. */
  files: Pick<Variant, "key" | "format" | "width" | "height" | "bytes" | "sha256">[];
}

export const entryKey = (id: string) => `image:${id}`;

/**
 * What is wrong with a manifest that the schema lets through, or null. Its keys
 * become names in R2: each must be of this image, and say what the file is.
 */
export function flaw(manifest: Manifest): string | null {
  const { id, variants } = manifest;
  if (variants.length === 0 || variants.length > maxFiles)
    return `it has ${variants.length} files, not 1 to ${maxFiles}`;
  const keys = new Set<string>();
  for (const { key, format, width } of variants) {
    const parsed = parseKey(key);
    if (parsed?.id !== id || parsed.width !== width || parsed.extension !== extensions[format])
      return `its file ${key} is misnamed`;
    keys.add(key);
  }
  return keys.size === variants.length ? null : "it names a file twice";
}

export function describe(manifest: Manifest): ImageEntry {
  const { id, width, height, placeholder, created_at, variants } = manifest;
  const formats: Partial<Record<Format, number[]>> = {};
  for (const variant of variants) {
    formats[variant.format] ??= [];
    formats[variant.format]?.push(variant.width);
  }
  const srcset: Partial<Record<Format, string>> = {};
  for (const [format, widths] of Object.entries(formats) as [Format, number[]][]) {
    widths.sort((a, b) => a - b);
    srcset[format] = widths.map((w) => `/images/${id}?w=${w}&f=${format} ${w}w`).join(", ");
  }
  return {
    id,
    width,
    height,
    thumbhash: placeholder.thumbhash,
    color: placeholder.color,
    alt: altText(manifest.source.filename ?? ""),
    created_at,
    formats,
    srcset,
    files: variants.map(({ key, format, width, height, bytes, sha256 }) => ({
      key,
      format,
      width,
      height,
      bytes,
      sha256,
    })),
  };
}

export function imageOf(entry: ImageEntry): Image {
  return { id: entry.id, ...metadataOf(entry) };
}

export function metadataOf(image: Image): ImageMetadata {
  const { width, height, thumbhash, color, alt, created_at, formats } = image;
  return { width, height, thumbhash, color, alt, created_at, formats };
}

/** "cat-on_sofa.jpg" says "cat on sofa": better than nothing for those who cannot see it. */
function altText(filename: string): string {
  const words = filename
    .replace(/\.[a-z0-9]{1,5}$/i, "")
    .replace(/[\p{C}_-]+/gu, " ")
    .trim();
  return [...words].slice(0, maxAlt).join("");
}
