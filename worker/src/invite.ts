// Invites: tokens that let others add images, and nothing else. The owner makes one
// for each phone or person, and can revoke it. A browser gets it as a link and keeps
// it as a cookie, a program sends it as a bearer token.
//
//   state/invites/<id>   an invite, until it is revoked or has expired

import type { Invite } from "./api";
import type { Env } from "./env";
import { Problem, bearerOf } from "./http";
import { cookieOf, readCookie } from "./session";
import { canSign, isSignedUntil, signUntil } from "./signature";

/** One listing of R2 has all of them. */
const maxInvites = 100;

const cookieName = "guest";
const prefix = "state/invites/";
const idPattern = /^inv_[0-9a-f]{16}$/;
const tokenPattern = /^(inv_[0-9a-f]{16})\.(\d{1,12})\.([0-9a-f]{64})$/;

/** Whether the request has a valid invite: it may add images. */
export async function isGuest(request: Request, env: Env): Promise<boolean> {
  const token = request.headers.has("Authorization") ? bearerOf(request) : readCookie(request, cookieName);
  return token !== null && isInvite(env, token);
}

/** Whether the token was signed here, has not expired and was not revoked. */
export async function isInvite(env: Env, token: string): Promise<boolean> {
  const [, id, expires, signature] = tokenPattern.exec(token) ?? [];
  if (id === undefined || signature === undefined) return false;
  // The signature keeps forged ones from causing reads.
  if (!(await isSignedUntil(env, "invite", id, Number(expires), signature))) return false;
  return (await env.IMAGES.head(prefix + id)) !== null;
}

/** The Set-Cookie header with which a browser keeps a valid invite until it expires. */
export function keepInvite(request: Request, token: string): string {
  const seconds = Number(token.split(".")[1]) - Math.floor(Date.now() / 1000);
  return cookieOf(request, cookieName, token, Math.max(0, seconds));
}

export function dropInvite(request: Request): string {
  return cookieOf(request, cookieName, "", 0);
}

/** Returns a new invite and its token. */
export async function createInvite(env: Env, name: string, days: number): Promise<{ invite: Invite; token: string }> {
  if (!canSign(env)) throw new Problem(503, "no_secret", "Set SESSION_SECRET and UPLOAD_TOKEN: they sign invites.");
  if ((await listInvites(env)).length >= maxInvites) {
    throw new Problem(409, "too_many_invites", `There are ${maxInvites} invites already; revoke one first.`);
  }
  const id = `inv_${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}`;
  const now = Date.now();
  const expires = Math.floor(now / 1000) + days * 24 * 60 * 60;
  const customMetadata = {
    name,
    created_at: new Date(now).toISOString(),
    expires_at: new Date(expires * 1000).toISOString(),
  };
  await env.IMAGES.put(prefix + id, "", { customMetadata });
  const token = `${id}.${expires}.${await signUntil(env, "invite", id, expires)}`;
  return { invite: { id, ...customMetadata }, token };
}

/** The valid ones, newest first. Deletes those that have expired. */
export async function listInvites(env: Env): Promise<Invite[]> {
  const { objects } = await env.IMAGES.list({ prefix, include: ["customMetadata"] });
  const invites = objects.map(({ key, customMetadata }): Invite => {
    const { name = "", created_at = "", expires_at = "" } = customMetadata ?? {};
    return { id: key.slice(prefix.length), name, created_at, expires_at };
  });
  const now = new Date().toISOString();
  const expired = invites.filter(({ expires_at }) => expires_at <= now).map(({ id }) => prefix + id);
  if (expired.length > 0) await env.IMAGES.delete(expired);
  return invites.filter(({ expires_at }) => expires_at > now).sort((a, b) => b.created_at.localeCompare(a.created_at));
}

/** Signs out whoever was signed in with it. */
export async function revokeInvite(env: Env, id: string): Promise<void> {
  if (!idPattern.test(id)) throw new Problem(404, "not_found", "There is no such invite.");
  await env.IMAGES.delete(prefix + id);
}
