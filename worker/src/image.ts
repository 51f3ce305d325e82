// The public description of an image, derived from its manifest.

import type { Format, Image, Manifest, Variant } from "./api";
import { extensions, parseKey } from "./files";

/** Sixteen widths in three formats. The description must fit into the metadata of a KV entry. */
export const maxFiles = 48;
const maxAlt = 100;

/** The metadata of a KV entry; the id is in its key. */
export type ImageMetadata = Omit<Image, "id">;

/** The value of a KV entry: what a site needs to embed the image, and its files. */
export interface ImageEntry extends Image {
  /** For each format, the value of an HTML srcset, relative to this Worker. */
  srcset: Partial<Record<Format, string>>;
  /** The files in R2. */
  files: Pick<Variant, "key" | "format" | "width" | "height" | "bytes" | "sha256">[];
}

export const entryKey = (id: string) => `image:${id}`;

/**
 * Returns an error in a manifest that the schema does not detect, or null. Its
 * keys become names in R2: each must belong to this image and match its file.
 */
export function validateManifest(manifest: Manifest): string | null {
  const { id, variants } = manifest;
  if (variants.length === 0 || variants.length > maxFiles) return `${variants.length} files, want 1 to ${maxFiles}`;
  const keys = new Set<string>();
  for (const { key, format, width } of variants) {
    const parsed = parseKey(key);
    if (parsed?.id !== id || parsed.width !== width || parsed.extension !== extensions[format])
      return `key ${key} does not match its file`;
    keys.add(key);
  }
  return keys.size === variants.length ? null : "duplicate key";
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

/** "cat-on_sofa.jpg" becomes "cat on sofa". */
function altText(filename: string): string {
  const words = filename
    .replace(/\.[a-z0-9]{1,5}$/i, "")
    .replace(/[\p{C}_-]+/gu, " ")
    .trim();
  return [...words].slice(0, maxAlt).join("");
}
