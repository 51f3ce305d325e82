/** Bindings, variables and secrets from wrangler.jsonc, `wrangler secret` and tests. */
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

  // Secrets. An unset secret denies access.
  OPTIMIZER_TOKEN?: string;
  UPLOAD_TOKEN?: string;
  SESSION_SECRET?: string;
  /** One or more, separated by spaces, so that one can be replaced without a gap. */
  WEBHOOK_SECRET?: string;
  ACCESS_CLIENT_ID?: string;
  ACCESS_CLIENT_SECRET?: string;
  TURNSTILE_SECRET?: string;
}

/** Messages of the queue. */
export type Work =
  /** Polls the state of a job, in case its webhook does not arrive. */
  | { kind: "poll"; upload: string; attempt: number }
  /** Pulls some files of an image, starting with this one. */
  | { kind: "pull"; image: string; run: string; from: number }
  /** Deletes the daemon's copy. */
  | { kind: "forget"; image: string };
