import type { HookEvent } from "./api";

/** Bindings, variables and secrets from wrangler.jsonc, `wrangler secret` and tests. */
export interface Env {
  ASSETS: Fetcher;
  IMAGES: R2Bucket;
  META: KVNamespace;
  /** The index of images; without it lists are made from KV. */
  INDEX?: D1Database;
  WORK: Queue<Work>;
  /** New variants by one visitor, and by all of them together. */
  ORDERS: RateLimit;
  ALL_ORDERS: RateLimit;
  /** Sign-in attempts by one visitor. */
  SIGN_INS: RateLimit;

  /** The daemon behind a Workers VPC service; without it OPTIMIZER_URL is used. */
  OPTIMIZER?: Fetcher;
  OPTIMIZER_URL?: string;

  /** The gallery's name, and what is in it for search engines and feed readers; "" for nothing. */
  TITLE: string;
  DESCRIPTION: string;
  PUBLIC_URL: string;
  /** The zone of this Worker's domain, to purge its cache after deletions; "" for none. */
  ZONE_ID: string;
  MAX_UPLOAD_BYTES: number;
  WIDTHS: string;
  ON_DEMAND: boolean;
  VISITOR_QUALITIES: boolean;
  /** Whether the daemon writes its files into IMAGES itself (storage.s3). */
  DIRECT: boolean;
  DELETE_AFTER_PULL: boolean;
  /** Whether only the owner sees the gallery, and others what the owner has signed a link to. */
  PRIVATE: boolean;
  /** Whether search engines are asked to leave the gallery out. */
  NOINDEX: boolean;

  /** Receivers of webhooks about images, separated by spaces. */
  HOOK_URLS?: string;

  // Secrets. An unset secret denies access.
  OPTIMIZER_TOKEN?: string;
  UPLOAD_TOKEN?: string;
  SESSION_SECRET?: string;
  /** One or more, separated by spaces, so that one can be replaced without a gap. */
  WEBHOOK_SECRET?: string;
  /** Signs the webhooks for HOOK_URLS. */
  HOOK_SECRET?: string;
  ACCESS_CLIENT_ID?: string;
  ACCESS_CLIENT_SECRET?: string;
  TURNSTILE_SECRET?: string;
  /** May purge the cache of the zone ZONE_ID. */
  PURGE_TOKEN?: string;
}

/** Messages of the queue. */
export type Work =
  /** Moves uploads of the inbox on, beginning after this one. idle: messages without effect before it. */
  | { kind: "inbox"; run: string; after: string; idle: number }
  /** Pulls some files of an image, starting with this one. */
  | { kind: "pull"; image: string; run: string; from: number }
  /** Does the next step of the remaking of all images. */
  | { kind: "remake"; run: string }
  /** Deletes what the daemon still has, beginning after this record. */
  | { kind: "leftovers"; after: string }
  /** Deletes the next image whose day in the trash is over, beginning after this record. */
  | { kind: "trash"; after: string }
  /** Delivers a webhook. at: when the event happened, RFC 3339. */
  | { kind: "hook"; url: string; type: HookEvent["type"]; image: string; id: string; at: string }
  /** Deletes the daemon's copy. Only version 0.1 sends it. */
  | { kind: "forget"; image: string };
