// Authentication. There is one owner, who knows UPLOAD_TOKEN: a program sends
// it with every request, a browser exchanges it for a cookie.

import type { Env } from "./env";
import { Problem, json, noContent, parseJSON, readText } from "./http";
import { passedTurnstile } from "./turnstile";

const cookieName = "owner";
const sessionSeconds = 30 * 24 * 60 * 60;
const maxBody = 8 << 10;

const encoder = new TextEncoder();

/** Whether the request is authenticated for reading. */
export async function isOwner(request: Request, env: Env): Promise<boolean> {
  return hasToken(request) ? isToken(env, bearer(request)) : hasSession(request, env);
}

/** Throws unless the request is authenticated for writing. */
export async function requireOwner(request: Request, env: Env): Promise<void> {
  if (hasToken(request)) {
    if (await isToken(env, bearer(request))) return;
    throw new Problem(401, "unauthorized", "The token is not valid.", { "WWW-Authenticate": "Bearer" });
  }
  if (!(await hasSession(request, env))) {
    throw new Problem(401, "unauthorized", "Only the owner may do this.", { "WWW-Authenticate": "Bearer" });
  }
  if (!isSameOrigin(request, env)) {
    throw new Problem(403, "cross_origin", "A session may only be used from this site's own pages.");
  }
}

export async function getSession(request: Request, env: Env): Promise<Response> {
  return json({ owner: await isOwner(request, env) });
}

export async function postSession(request: Request, env: Env): Promise<Response> {
  const text = await readText(request, maxBody);
  if (text === null) throw new Problem(413, "too_large", `The request must be at most ${maxBody} bytes.`);
  const body = parseJSON(text);
  if (typeof body !== "object" || body === null || !("token" in body) || typeof body.token !== "string") {
    throw new Problem(400, "invalid_request", 'The body must be {"token": "…"}.');
  }
  const answer = "turnstile" in body && typeof body.turnstile === "string" ? body.turnstile : "";
  if (!(await passedTurnstile(request, env, answer))) {
    throw new Problem(403, "turnstile_failed", "The Turnstile check failed; try again.");
  }
  if (!env.SESSION_SECRET || !(await isToken(env, body.token))) {
    throw new Problem(401, "unauthorized", "The token is not valid.");
  }
  const expires = Math.floor(Date.now() / 1000) + sessionSeconds;
  const signature = await crypto.subtle.sign("HMAC", await sessionKey(env.SESSION_SECRET), signed(env, expires));
  return noContent({ "Set-Cookie": cookie(request, `${expires}.${hex(signature)}`, sessionSeconds) });
}

export function deleteSession(request: Request): Response {
  return noContent({ "Set-Cookie": cookie(request, "", 0) });
}

function hasToken(request: Request): boolean {
  return request.headers.has("Authorization");
}

function bearer(request: Request): string {
  const [, token = ""] = /^Bearer +(.+)$/i.exec(request.headers.get("Authorization") ?? "") ?? [];
  return token;
}

/** Compares digests in constant time. */
async function isToken(env: Env, token: string): Promise<boolean> {
  if (!env.UPLOAD_TOKEN) return false;
  const [a, b] = await Promise.all(
    [token, env.UPLOAD_TOKEN].map((text) => crypto.subtle.digest("SHA-256", encoder.encode(text))),
  );
  return crypto.subtle.timingSafeEqual(a as ArrayBuffer, b as ArrayBuffer);
}

async function hasSession(request: Request, env: Env): Promise<boolean> {
  if (!env.SESSION_SECRET || !env.UPLOAD_TOKEN) return false;
  const cookies = request.headers.get("Cookie") ?? "";
  const [, expires, signature] = /(?:^|;\s*)owner=(\d{1,12})\.([0-9a-f]{64})(?:;|$)/.exec(cookies) ?? [];
  if (expires === undefined || signature === undefined || Number(expires) * 1000 < Date.now()) return false;
  return crypto.subtle.verify(
    "HMAC",
    await sessionKey(env.SESSION_SECRET),
    unhex(signature),
    signed(env, Number(expires)),
  );
}

function sessionKey(secret: string): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
    "verify",
  ]);
}

/** Returns a signature that only this Worker can create. */
export async function sign(env: Env, text: string): Promise<string> {
  const key = await sessionKey(env.SESSION_SECRET || env.UPLOAD_TOKEN || "nobody can write here");
  return hex(await crypto.subtle.sign("HMAC", key, encoder.encode(`said\n${text}`)));
}

/** Returns the signed content of a cookie. A new token invalidates the sessions of the old one. */
function signed(env: Env, expires: number): Uint8Array {
  return encoder.encode(`owner\n${expires}\n${env.UPLOAD_TOKEN}`);
}

function cookie(request: Request, value: string, maxAge: number): string {
  const { protocol, hostname } = new URL(request.url);
  // Browsers drop Secure cookies of plain http sites, some even on localhost.
  const local = protocol === "http:" && (hostname === "localhost" || hostname === "127.0.0.1");
  return `${cookieName}=${value}; Path=/; Max-Age=${maxAge}; HttpOnly; SameSite=Strict${local ? "" : "; Secure"}`;
}

/**
 * SameSite includes sibling subdomains, so a request that changes anything must
 * also prove that it comes from a page of this site. Browsers always send that.
 */
function isSameOrigin(request: Request, env: Env): boolean {
  if (request.method === "GET" || request.method === "HEAD") return true;
  const origin = request.headers.get("Origin");
  if (origin === null) return request.headers.get("Sec-Fetch-Site") === "same-origin";
  return origin === new URL(request.url).origin || `${env.PUBLIC_URL}/`.startsWith(`${origin}/`);
}

function hex(bytes: ArrayBuffer): string {
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function unhex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
