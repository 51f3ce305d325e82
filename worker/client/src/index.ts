// A client of an optimizerd gallery, for browsers, Node.js 20 and other runtimes.

import type { components } from "./api.js";

export type Image = components["schemas"]["PublicImage"];
export type Upload = components["schemas"]["Upload"];

export interface ImageList {
  /** With since they may be fewer than limit, or none, although there is another page. */
  images: Image[];
  /** Of the next page; null after the last. */
  cursor: string | null;
}

/** An error response of the gallery. */
export class GalleryError extends Error {
  constructor(
    /** HTTP status. */
    readonly status: number,
    /** Stable, like not_found. */
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "GalleryError";
  }
}

export interface Options {
  /** UPLOAD_TOKEN, for uploads. Never in a page. */
  token?: string;
  /** In place of the global fetch. */
  fetch?: typeof fetch;
}

export interface Selection {
  /** Images per page, 1 to 100. */
  limit?: number;
  cursor?: string | null;
  /** A time: only images created after it. */
  since?: string;
  tag?: string;
  /** A search: words, or beginnings of words, all of which an image must have. */
  q?: string;
}

/** Longest wait between two requests for the state of an upload, ms. */
const longestWait = 10_000;

/** Returns a client of the gallery at this address. */
export function gallery(site: string, { token, fetch: send = fetch }: Options = {}) {
  const base = site.replace(/\/+$/, "");

  async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await send(base + path, { ...init, headers });
    const body: unknown = await response.json().catch(() => null);
    if (response.ok && body !== null) return body as T;
    const { code = "no_json", detail = `The gallery answered with ${response.status}.` } = (body ?? {}) as {
      code?: string;
      detail?: string;
    };
    throw new GalleryError(response.status, code, detail);
  }

  /** A page of the list, newest first. */
  function list(selection: Selection = {}): Promise<ImageList> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(selection)) if (value != null) query.set(name, `${value}`);
    return ask(`/api/images?${query}`);
  }

  return {
    list,

    /** All images, newest first; pages are requested as they are needed. */
    async *all(selection: Selection = {}): AsyncGenerator<Image, void> {
      let cursor = selection.cursor;
      do {
        const page: ImageList = await list({ limit: 100, ...selection, cursor: cursor ?? null });
        yield* page.images;
        cursor = page.cursor;
      } while (cursor !== null);
    },

    /** One image, by its id. */
    get: (id: string): Promise<Image> => ask(`/api/images/${encodeURIComponent(id)}`),

    /**
     * Uploads an image; resolves when it is in the gallery. That takes as long as the
     * optimizer is out of reach, unless signal aborts the wait: the gallery goes on.
     */
    async upload(
      body: Blob | ArrayBuffer | Uint8Array<ArrayBuffer>,
      { filename = "", signal }: { filename?: string; signal?: AbortSignal } = {},
    ): Promise<Image> {
      const init = signal ? { signal } : {};
      const path = `/api/images?filename=${encodeURIComponent(filename)}`;
      const { upload } = await ask<Upload>(path, { ...init, method: "POST", body });
      for (let wait = 500; ; wait = Math.min(wait * 1.5, longestWait)) {
        const { status, image, error } = await ask<Upload>(`/api/uploads/${upload}`, init);
        if (status === "failed") throw new GalleryError(422, error?.code ?? "", error?.message ?? "The upload failed.");
        if (status === "done" && image) return this.get(image.id);
        await pause(wait, signal);
      }
    },
  };
}

/** Rejects when signal aborts. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

export interface PictureOptions {
  /** As of <img>. Default: the width that the page gives the image. */
  sizes?: string;
  /** Default: the image's. */
  alt?: string;
  /** Default: lazy. Use eager for what is in view at once. */
  loading?: "lazy" | "eager";
  /** Of the <img>. */
  className?: string;
}

/** Attributes of the <source> elements and of the <img>, in this order. */
export function pictureAttributes(image: Image, options: PictureOptions = {}): Record<string, string>[] {
  const { sizes = "auto, 100vw", alt = image.alt, loading = "lazy", className } = options;
  const all = image.sources.map(({ type, media, srcset }) => ({
    ...(type && { type }),
    ...(media && { media }),
    srcset,
    sizes,
  }));
  const fallback = image.sources.findIndex(({ type }) => !type);
  const img = {
    ...(fallback >= 0 && all.splice(fallback, 1)[0]),
    src: image.src,
    width: `${image.width}`,
    height: `${image.height}`,
    alt,
    loading,
    decoding: "async",
    style: `background:${image.color};max-width:100%;height:auto`,
    ...(className && { class: className }),
  };
  return [...all, img];
}

const escaped: Record<string, string> = { "&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;" };

/** HTML of a <picture> with all sizes and formats. */
export function pictureHtml(image: Image, options?: PictureOptions): string {
  const elements = pictureAttributes(image, options).map((attributes, i, all) => {
    const name = i < all.length - 1 ? "source" : "img";
    const text = Object.entries(attributes).map(
      ([key, value]) => ` ${key}="${value.replace(/[&"<>]/g, (c) => escaped[c] as string)}"`,
    );
    return `<${name}${text.join("")}>`;
  });
  return `<picture>${elements.join("")}</picture>`;
}
