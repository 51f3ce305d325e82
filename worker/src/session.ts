// Sessions of browsers: a signed cookie, and a record in R2 without which the
// cookie is not valid. The signature keeps forged cookies from causing reads; the
// record lets a session end before its cookie expires.
//
//   state/sessions/<id>   empty; deleted when its session ends

import type { Env } from "./env";
import { canSign, isSignedUntil, signUntil } from "./signature";

const sessionSeconds = 30 * 24 * 60 * 60;

const recordKey = (id: string) => `state/sessions/${id}`;

/** Starts a session; returns the Set-Cookie header. */
export async function startSession(request: Request, env: Env): Promise<string> {
  const id = crypto.randomUUID();
  const expires = Math.floor(Date.now() / 1000) + sessionSeconds;
  await env.IMAGES.put(recordKey(id), "");
  const signature = await signUntil(env, "session", id, expires);
  return cookieOf(request, "owner", `${id}.${expires}.${signature}`, sessionSeconds);
}

/** Ends the request's session, if it has one; returns the Set-Cookie header. */
export async function endSession(request: Request, env: Env): Promise<string> {
  const id = await signedId(request, env);
  if (id !== null) await env.IMAGES.delete(recordKey(id));
  return cookieOf(request, "owner", "", 0);
}

export async function hasSession(request: Request, env: Env): Promise<boolean> {
  const id = await signedId(request, env);
  return id !== null && (await env.IMAGES.head(recordKey(id))) !== null;
}

/** Returns the id of a cookie that was signed here and has not expired. */
async function signedId(request: Request, env: Env): Promise<string | null> {
  if (!canSign(env)) return null;
  const [, id, expires, signature] =
    /^([0-9a-f-]{36})\.(\d{1,12})\.([0-9a-f]{64})$/.exec(readCookie(request, "owner") ?? "") ?? [];
  if (id === undefined || signature === undefined) return null;
  return (await isSignedUntil(env, "session", id, Number(expires), signature)) ? id : null;
}

/** With this prefix, browsers accept the cookie from this very host alone. */
function cookieName(request: Request, name: string): string {
  return isLocal(request) ? name : `__Host-${name}`;
}

/** The value of the request's cookie; null without it. */
export function readCookie(request: Request, name: string): string | null {
  const prefix = `${cookieName(request, name)}=`;
  const pairs = (request.headers.get("Cookie") ?? "").split(";").map((pair) => pair.trim());
  return pairs.find((pair) => pair.startsWith(prefix))?.slice(prefix.length) ?? null;
}

/** A Set-Cookie header, for this site's own pages and for no script. maxAge is in seconds. */
export function cookieOf(request: Request, name: string, value: string, maxAge: number): string {
  const secure = isLocal(request) ? "" : "; Secure";
  return `${cookieName(request, name)}=${value}; Path=/; Max-Age=${maxAge}; HttpOnly; SameSite=Strict${secure}`;
}

/** Browsers drop Secure cookies of plain http sites, some even on localhost. */
function isLocal(request: Request): boolean {
  const { protocol, hostname } = new URL(request.url);
  return protocol === "http:" && (hostname === "localhost" || hostname === "127.0.0.1");
}
