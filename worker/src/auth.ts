// Authentication. There is one owner, who knows UPLOAD_TOKEN: a program sends
// it with every request, a browser exchanges it for a cookie. Whoever has an invite
// (a guest) may add images, in the same two ways.

import type { Session } from "./api";
import type { Env } from "./env";
import { Problem, bearerOf, json, noContent, parseJSON, readText } from "./http";
import { dropInvite, isGuest, isInvite, keepInvite } from "./invite";
import { isWithin } from "./limits";
import { endSession, hasSession, startSession } from "./session";
import { passedTurnstile } from "./turnstile";

const maxBody = 8 << 10;

const encoder = new TextEncoder();

/** Whether the request is authenticated for reading. */
export async function isOwner(request: Request, env: Env): Promise<boolean> {
  return hasToken(request) ? isToken(env, bearerOf(request)) : hasSession(request, env);
}

/** Whether the request may see a private gallery. */
export async function isMember(request: Request, env: Env): Promise<boolean> {
  return (await isOwner(request, env)) || isGuest(request, env);
}

/** Throws unless the request may change everything. */
export async function requireOwner(request: Request, env: Env): Promise<void> {
  if (await isOwner(request, env)) return requireSameOrigin(request, env);
  if (await isGuest(request, env)) {
    throw new Problem(403, "owner_only", "An invite allows adding images; only the owner may do this.");
  }
  throw unauthorized(request, "Only the owner may do this.");
}

/** Throws unless the request may add images. */
export async function requireMember(request: Request, env: Env): Promise<void> {
  if (await isMember(request, env)) return requireSameOrigin(request, env);
  throw unauthorized(request, "Only the owner, and those with an invite, may do this.");
}

function unauthorized(request: Request, detail: string): Problem {
  const headers = { "WWW-Authenticate": "Bearer" };
  return new Problem(401, "unauthorized", hasToken(request) ? "The token is not valid." : detail, headers);
}

/**
 * SameSite includes sibling subdomains, so a browser's request that changes anything
 * must also prove that it comes from a page of this site. Browsers always send that.
 */
function requireSameOrigin(request: Request, env: Env): void {
  if (hasToken(request) || isSameOrigin(request, env)) return;
  throw new Problem(403, "cross_origin", "A session may only be used from this site's own pages.");
}

export async function getSession(request: Request, env: Env): Promise<Response> {
  const owner = await isOwner(request, env);
  const guest = !owner && (await isGuest(request, env));
  return json({ owner, guest, private: env.PRIVATE } satisfies Session);
}

export async function postSession(request: Request, env: Env): Promise<Response> {
  const text = await readText(request, maxBody);
  if (text === null) throw new Problem(413, "too_large", `The request must be at most ${maxBody} bytes.`);
  const body = parseJSON(text);
  if (typeof body !== "object" || body === null || !("token" in body) || typeof body.token !== "string") {
    throw new Problem(400, "invalid_request", 'The body must be {"token": "…"}.');
  }
  // Signed, so nobody can guess one.
  if (await isInvite(env, body.token)) return noContent({ "Set-Cookie": keepInvite(request, body.token) });
  const answer = "turnstile" in body && typeof body.turnstile === "string" ? body.turnstile : "";
  if (!(await passedTurnstile(request, env, answer))) {
    throw new Problem(403, "turnstile_failed", "The Turnstile check failed; try again.");
  }
  if (!(await isWithin(env.SIGN_INS, request))) {
    throw new Problem(429, "too_many_attempts", "Too many attempts to sign in; try again in a minute.", {
      "Retry-After": "60",
    });
  }
  if (!env.SESSION_SECRET || !(await isToken(env, body.token))) {
    throw new Problem(401, "unauthorized", "The token is not valid.");
  }
  return noContent({ "Set-Cookie": await startSession(request, env) });
}

/** Pages of other origins cannot send it: their browsers ask for permission first, and do not get it. */
export async function deleteSession(request: Request, env: Env): Promise<Response> {
  const response = noContent({ "Set-Cookie": await endSession(request, env) });
  response.headers.append("Set-Cookie", dropInvite(request));
  return response;
}

function hasToken(request: Request): boolean {
  return request.headers.has("Authorization");
}

/** Compares digests in constant time. */
async function isToken(env: Env, token: string): Promise<boolean> {
  if (!env.UPLOAD_TOKEN) return false;
  const [a, b] = await Promise.all(
    [token, env.UPLOAD_TOKEN].map((text) => crypto.subtle.digest("SHA-256", encoder.encode(text))),
  );
  return crypto.subtle.timingSafeEqual(a as ArrayBuffer, b as ArrayBuffer);
}

function isSameOrigin(request: Request, env: Env): boolean {
  if (request.method === "GET" || request.method === "HEAD") return true;
  const origin = request.headers.get("Origin");
  if (origin === null) return request.headers.get("Sec-Fetch-Site") === "same-origin";
  return origin === new URL(request.url).origin || origin === publicOrigin(env);
}

/** The origin of PUBLIC_URL; null if that is not set. */
function publicOrigin(env: Env): string | null {
  return URL.canParse(env.PUBLIC_URL) ? new URL(env.PUBLIC_URL).origin : null;
}
