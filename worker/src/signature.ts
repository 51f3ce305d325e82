// Signatures that only this Worker can create, by HMAC-SHA-256 in hex. A purpose
// separates them, so that none is valid as another.

import { fromHex, toHex } from "./digest";
import type { Env } from "./env";

export type Purpose = "cursor" | "invite" | "link" | "session";

const encoder = new TextEncoder();

/** For what outlives a session. Without both secrets, anybody could. */
export function canSign(env: Env): boolean {
  return Boolean(env.SESSION_SECRET && env.UPLOAD_TOKEN);
}

export async function sign(env: Env, purpose: Purpose, text: string): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.sign("HMAC", await keyOf(env), message(purpose, text))));
}

/** Compares in constant time. */
export async function isSigned(env: Env, purpose: Purpose, text: string, signature: string): Promise<boolean> {
  if (!/^[0-9a-f]{64}$/.test(signature)) return false;
  return crypto.subtle.verify("HMAC", await keyOf(env), fromHex(signature), message(purpose, text));
}

/** Signs an id until a time, in seconds since 1970. */
export function signUntil(env: Env, purpose: Purpose, id: string, expires: number): Promise<string> {
  return sign(env, purpose, expiring(env, id, expires));
}

/** Whether that was signed here, and has not expired. */
export async function isSignedUntil(
  env: Env,
  purpose: Purpose,
  id: string,
  expires: number,
  signature: string,
): Promise<boolean> {
  if (!canSign(env) || expires * 1000 < Date.now()) return false;
  return isSigned(env, purpose, expiring(env, id, expires), signature);
}

/** A new UPLOAD_TOKEN invalidates the sessions, invites and links of the old one. */
function expiring(env: Env, id: string, expires: number): string {
  return `${id}\n${expires}\n${env.UPLOAD_TOKEN}`;
}

function message(purpose: Purpose, text: string): Uint8Array {
  return encoder.encode(`${purpose}\n${text}`);
}

/** Without any secret nobody can sign in, and only cursors are signed. */
function keyOf(env: Env): Promise<CryptoKey> {
  const secret = env.SESSION_SECRET || env.UPLOAD_TOKEN || "nobody can write here";
  return crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
    "verify",
  ]);
}
