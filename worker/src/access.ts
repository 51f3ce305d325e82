// Who may see images. In a public gallery everybody; in a private one (PRIVATE) the
// owner, guests, and whoever has a link to an image that the owner has signed. A browser gets
// the signature as a cookie, so that the page finds its files under their own URLs.

import type { SignedLink } from "./api";
import { isMember, requireOwner } from "./auth";
import { pageUrl } from "./embed";
import type { Env } from "./env";
import { findImage } from "./find";
import { Problem, json, parseJSON, readText, siteOf } from "./http";
import { cookieOf, readCookie } from "./session";
import { canSign, isSignedUntil, signUntil } from "./signature";

const maxBody = 1 << 10;
const maxDays = 366;
const defaultDays = 30;
const daySeconds = 24 * 60 * 60;

/** A browser keeps one for each image. */
const cookieName = (id: string) => `see-${id}`;

/** Whether the request may see this image; without an id, all of them. */
export async function mayRead(request: Request, env: Env, id: string | null): Promise<boolean> {
  if (!env.PRIVATE) return true;
  if (id !== null && (await keyOf(request, env, id)) !== null) return true;
  return isMember(request, env);
}

/** Throws unless the request may see this image; without an id, all of them. */
export async function requireReader(request: Request, env: Env, id: string | null): Promise<void> {
  if (await mayRead(request, env, id)) return;
  throw new Problem(401, "unauthorized", "This gallery is private: sign in, or ask for a link.", {
    "WWW-Authenticate": "Bearer",
  });
}

/** The valid key of the request for an image; null without one. */
export async function keyOf(request: Request, env: Env, id: string): Promise<string | null> {
  const keys = [new URL(request.url).searchParams.get("key"), readCookie(request, cookieName(id))];
  for (const key of keys) if (key && (await isKey(env, id, key))) return key;
  return null;
}

/** A key for the image that another id leads to; it expires with the one for that id. */
export function keyLike(env: Env, key: string, id: string): Promise<string> {
  return newKey(env, id, expiryOf(key));
}

/** The Set-Cookie header with which a browser keeps a key until it expires. */
export function keepKey(request: Request, id: string, key: string): string {
  return cookieOf(request, cookieName(id), key, Math.max(0, expiryOf(key) - Math.floor(Date.now() / 1000)));
}

/** POST /api/images/{id}/link {"days": n}: a link to an image of a private gallery, that expires. */
export async function postLink(request: Request, env: Env, id: string): Promise<Response> {
  await requireOwner(request, env);
  const days = daysOf((await readText(request, maxBody)) ?? "");
  if (days === null) throw new Problem(400, "invalid_request", `days must be a whole number from 1 to ${maxDays}.`);
  const image = await findImage(env, id);
  if (image === null) throw new Problem(404, "not_found", "There is no such image.");
  const url = pageUrl(image, siteOf(request, env));
  if (!env.PRIVATE) return json({ url, expires_at: null } satisfies SignedLink, 201);
  if (!canSign(env)) throw new Problem(503, "no_secret", "Set SESSION_SECRET and UPLOAD_TOKEN: they sign links.");
  const expires = Math.floor(Date.now() / 1000) + days * daySeconds;
  const key = await newKey(env, image.id, expires);
  const expires_at = new Date(expires * 1000).toISOString();
  return json({ url: `${url}?key=${key}`, expires_at } satisfies SignedLink, 201);
}

/** Null if they are not valid. */
function daysOf(text: string): number | null {
  if (text === "") return defaultDays;
  const body = parseJSON(text);
  if (typeof body !== "object" || body === null) return null;
  const { days = defaultDays } = body as { days?: unknown };
  return Number.isInteger(days) && Number(days) >= 1 && Number(days) <= maxDays ? Number(days) : null;
}

/** expires is in seconds since 1970. */
async function newKey(env: Env, id: string, expires: number): Promise<string> {
  return `${expires}.${await signUntil(env, "link", id, expires)}`;
}

async function isKey(env: Env, id: string, key: string): Promise<boolean> {
  const [, signature = ""] = key.split(".");
  return isSignedUntil(env, "link", id, expiryOf(key), signature);
}

/** Seconds since 1970; 0 if it is not a key. */
function expiryOf(key: string): number {
  return /^\d{1,12}\.[0-9a-f]{64}$/.test(key) ? Number(key.split(".")[0]) : 0;
}
