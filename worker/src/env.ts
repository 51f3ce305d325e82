/** What wrangler.jsonc, `wrangler secret` and tests give the Worker. */
export interface Env {
  ASSETS: Fetcher;
  IMAGES: R2Bucket;
  META: KVNamespace;
  WORK: Queue<Work>;
  ORDERS: RateLimit;

  /** The daemon behind a Workers VPC service; without it OPTIMIZER_URL is used. */
  OPTIMIZER?: Fetcher;
  OPTIMIZER_URL?: string;

  PUBLIC_URL: string;
  MAX_UPLOAD_BYTES: number;
  WIDTHS: string;
  ON_DEMAND: boolean;
  DELETE_AFTER_PULL: boolean;

  // Secrets. What is not set lets nobody in.
  OPTIMIZER_TOKEN?: string;
  UPLOAD_TOKEN?: string;
  SESSION_SECRET?: string;
  /** One or several, with blanks between, so that one can be replaced without a gap. */
  WEBHOOK_SECRET?: string;
  ACCESS_CLIENT_ID?: string;
  ACCESS_CLIENT_SECRET?: string;
  TURNSTILE_SECRET?: string;
}

/** What the queue carries. */
export type Work =
  /** Asks the daemon how a job stands, for when its webhook does not come. */
  | { kind: "poll"; upload: string; attempt: number }
  /** Pulls some files of an image, beginning with this one. */
  | { kind: "pull"; image: string; run: string; from: number }
  /** Has the daemon delete its copy. */
  | { kind: "forget"; image: string };
