// The public description of an image, derived from its manifest.

import type { Format, Image, Manifest, PublicImage, Variant, Words } from "./api";
import { markdownOf, pageUrl, pictureHtml, sourcesOf, srcOf } from "./embed";
import { extensions, parseKey } from "./files";
import { OptimizerError } from "./optimizer";
import type { StoredManifest } from "./state";

/** Sixteen widths in three formats. The description must fit into the metadata of a KV entry. */
export const maxFiles = 48;
const maxAlt = 100;

/** The metadata of a KV entry: the id is in its key, and longer texts are in its value. */
export interface ImageMetadata
  extends Omit<Image, "id" | "title" | "caption" | "tags" | "uploaded_at" | "taken_at" | "animated"> {
  // Each absent if it is not known, or false.
  uploaded_at?: string;
  taken_at?: string;
  animated?: true;
  /** Whether there are such texts. */
  more?: true;
}

/** The value of a KV entry: what a site needs to embed the image, and its files. */
export interface ImageEntry extends Image {
  /** For each format, the value of an HTML srcset, relative to this Worker; gaps have the next format. */
  srcset: Partial<Record<Format, string>>;
  /** The files in R2. */
  files: Pick<Variant, "key" | "format" | "width" | "height" | "bytes" | "sha256">[];
}

export const entryKey = (id: string) => `image:${id}`;

/** Throws OptimizerError if a manifest has an error that the schema does not detect. */
export function requireValid(manifest: Manifest): void {
  const wrong = validateManifest(manifest);
  if (wrong === null) return;
  throw new OptimizerError(502, "bad_manifest", `The optimizer's manifest is not valid: ${wrong}.`);
}

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

/** id is that of the image; its files are those of the manifest's set. */
export function describe(manifest: StoredManifest, words: Partial<Words> = {}, id = manifest.id): ImageEntry {
  const { width, height, placeholder, created_at, uploaded_at, source, variants } = manifest;
  const formats: Partial<Record<Format, number[]>> = {};
  for (const variant of variants) {
    formats[variant.format] ??= [];
    formats[variant.format]?.push(variant.width);
  }
  for (const widths of Object.values(formats)) widths.sort((a, b) => a - b);
  const animated = source.frames > 1 && formats.webp !== undefined;
  const sources = sourcesOf({ id, width, height, formats, animated });
  const srcset = Object.fromEntries(sources.map(({ format, srcset }) => [format, srcset]));
  return {
    id,
    width,
    height,
    thumbhash: placeholder.thumbhash,
    color: placeholder.color,
    title: "",
    alt: altText(source.filename ?? ""),
    caption: "",
    tags: [],
    ...words,
    created_at,
    uploaded_at: uploaded_at ?? created_at,
    taken_at: source.taken_at ?? null,
    formats,
    animated,
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

/** The id of the set that an image has its files from. */
export function setOf({ id, files }: ImageEntry): string {
  return parseKey(files[0]?.key ?? "")?.id ?? id;
}

export function imageOf({ files: _, srcset: __, ...image }: ImageEntry): Image {
  return image;
}

/** An image for other sites, with the Worker's address in its URLs. */
export function toPublic(image: Image, site: string): PublicImage {
  return {
    ...image,
    url: pageUrl(image, site),
    src: srcOf(image, site),
    sources: sourcesOf(image, site).map(({ format: _, ...source }) => source),
    html: pictureHtml(image, site),
    markdown: markdownOf(image, site),
  };
}

export function metadataOf(image: Image): ImageMetadata {
  const { width, height, thumbhash, color, alt, created_at, uploaded_at, taken_at, formats, animated } = image;
  const short = [...alt].slice(0, maxAlt).join("");
  const more = image.title !== "" || image.caption !== "" || image.tags.length > 0 || alt !== short;
  const known = { uploaded_at, ...(taken_at !== null && { taken_at }) };
  return {
    width,
    height,
    thumbhash,
    color,
    alt: short,
    created_at,
    ...known,
    formats,
    ...(animated && { animated }),
    ...(more && { more }),
  };
}

/** The image of a KV listing, without its longer texts. */
export function imageOfMetadata(id: string, { more: _, ...metadata }: ImageMetadata): Image {
  const { created_at: uploaded_at } = metadata;
  return { id, title: "", caption: "", tags: [], uploaded_at, taken_at: null, animated: false, ...metadata };
}

/** What cameras and messengers call their files. */
const cameraWords =
  /^(?:(?:img|dsc[nf]?|pxl|mvimg|mp|p|image|photo|picture|screenshot|signal|whatsapp|wa|at)(?![a-z])|[\d\s.,:()])*$/i;

/** "cat-on_sofa.jpg" becomes "cat on sofa"; "IMG_4711.jpg" says nothing to anybody. */
function altText(filename: string): string {
  const words = filename
    .replace(/\.[a-z0-9]{1,5}$/i, "")
    // Joiners are part of emoji, and of words in some scripts.
    .replace(/((?![\u200c\u200d])\p{C}|[_-])+/gu, " ")
    .trim();
  return cameraWords.test(words) ? "" : [...words].slice(0, maxAlt).join("");
}
