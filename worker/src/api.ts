// The JSON of the Worker's API.

import type { components } from "./generated/openapi";

export type Manifest = components["schemas"]["Manifest"];
export type Variant = components["schemas"]["Variant"];
export type Job = components["schemas"]["Job"];
export type Format = components["schemas"]["Format"];

/** An image as a gallery shows it. This is the metadata of its KV entry. */
export interface Image {
  id: string;
  width: number;
  height: number;
  /** Standard base64. */
  thumbhash: string;
  /** Like #8a7f6e. */
  color: string;
  alt: string;
  created_at: string;
  /** The stored widths of each format, ascending. */
  formats: Partial<Record<Format, number[]>>;
}

/** GET /api/images?cursor= */
export interface ImageList {
  images: Image[];
  cursor: string | null;
}

/** The state of an upload: with the daemon, being pulled into R2, or ended. */
export type UploadStatus = "working" | "storing" | "done" | "failed";

/** POST /api/images */
export interface UploadAccepted {
  upload: string;
  status: UploadStatus;
}

/** GET /api/uploads/{id} */
export interface Upload extends UploadAccepted {
  /** Files. */
  stored: number;
  total: number;
  image: Image | null;
  error: { code: string; message: string } | null;
}

/** GET /api/session */
export interface Session {
  owner: boolean;
}

/** Every error, as application/problem+json (RFC 9457). */
export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
}
