// The JSON of the Worker's API.

import type { components } from "./generated/openapi";

export type Manifest = components["schemas"]["Manifest"];
export type Variant = components["schemas"]["Variant"];
export type Job = components["schemas"]["Job"];
export type Format = components["schemas"]["Format"];

/** What people write about an image. All may be empty. */
export interface Words {
  title: string;
  /** For those who do not see the image. */
  alt: string;
  caption: string;
  /** In lower case, without duplicates. */
  tags: string[];
}

/** An image as a gallery shows it. */
export interface Image extends Words {
  id: string;
  width: number;
  height: number;
  /** Standard base64. */
  thumbhash: string;
  /** Like #8a7f6e. */
  color: string;
  created_at: string;
  /** Lists are in this order; created_at is when its files were made. */
  uploaded_at: string;
  /** When a photo says that it was taken, without a zone if it names none; null if it does not. */
  taken_at: string | null;
  /** The stored widths of each format, ascending. */
  formats: Partial<Record<Format, number[]>>;
  /** Whether it moves: in WebP, while the other formats have its first frame. */
  animated: boolean;
}

/** An image for other sites, with absolute URLs. */
export interface PublicImage extends Image {
  /** Its page. */
  url: string;
  /** One file, for where there is no srcset. */
  src: string;
  /** For a <picture>, in this order; type is null for its <img>, media absent for all visitors. */
  sources: { type: string | null; srcset: string; media?: string }[];
  html: string;
  markdown: string;
}

/** GET /api/images?limit=&cursor=&since=; with view=full, the default, of PublicImage */
export interface ImageList {
  /** With since they may be fewer than limit, or none, although there is another page. */
  images: Image[];
  cursor: string | null;
}

/**
 * The state of an upload: in R2, to be handed over to the daemon; with the daemon;
 * being pulled into R2; or ended.
 */
export type UploadStatus = "saved" | "working" | "storing" | "done" | "failed";

/** POST /api/images, and the end of an upload in parts */
export interface UploadAccepted {
  upload: string;
  status: UploadStatus;
}

/** POST /api/uploads */
export interface UploadParts {
  upload: string;
  /** Of each part but the last. */
  part_bytes: number;
  parts: number;
}

/** GET /api/uploads/{id} */
export interface Upload extends UploadAccepted {
  /** Files. */
  stored: number;
  total: number;
  image: Image | null;
  /** Whether the image was there before. */
  duplicate: boolean;
  /** Why it failed or, while it is saved, why the daemon does not have it yet. */
  error: { code: string; message: string } | null;
}

/** GET and POST /api/remake */
export interface Remake {
  running: boolean;
  /** Images, as far as they are listed. */
  total: number;
  /** Of them, those with new files, and those whose files are as the ladder has them. */
  done: number;
  unchanged: number;
  /** Why it failed, by the image's id. */
  failed: Record<string, string>;
}

/** The body of an outgoing webhook. */
export type HookEvent =
  | { type: "image.published"; timestamp: string; data: PublicImage }
  | { type: "image.deleted"; timestamp: string; data: Pick<PublicImage, "id" | "url"> };

/** An image in the trash. */
export interface TrashedImage {
  image: Image;
  deleted_at: string;
  /** When it is deleted for good. */
  expires_at: string;
}

/** GET /api/trash?cursor= */
export interface Trash {
  images: TrashedImage[];
  cursor: string | null;
}

/** POST /api/images/{id}/link */
export interface SignedLink {
  url: string;
  /** Null in a public gallery, where links do not expire. */
  expires_at: string | null;
}

/** An invite: whoever has its token may add images. */
export interface Invite {
  id: string;
  /** For the owner, to tell them apart. */
  name: string;
  created_at: string;
  expires_at: string;
}

/** GET /api/invites */
export interface InviteList {
  invites: Invite[];
}

/** POST /api/invites */
export interface NewInvite extends Invite {
  token: string;
  /** The link that signs a browser in. */
  url: string;
  /** The link as a QR code: a data: URL of an SVG. */
  qr: string;
}

/** GET /api/session */
export interface Session {
  owner: boolean;
  /** Whether the request has an invite: it may add images. */
  guest: boolean;
  /** Whether visitors see nothing without a signed link. */
  private: boolean;
}

/** Every error, as application/problem+json (RFC 9457). */
export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
}
