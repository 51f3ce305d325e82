// Signatures that only this Worker can create, by HMAC-SHA-256 in hex. A purpose
// separates them, so that none is valid as another.

import type { Env } from "./env";

export type Purpose = "cursor" | "invite" | "link" | "session";

const encoder = new TextEncoder();

/** For what outlives a session. Without both secrets, anybody could. */
export function canSign(env: Env): boolean {
  return Boolean(env.SESSION_SECRET && env.UPLOAD_TOKEN);
}

export async function sign(env: Env, purpose: Purpose, text: string): Promise<string> {
  const bytes = new Uint8Array(await crypto.subtle.sign("HMAC", await keyOf(env), message(purpose, text)));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Compares in constant time. */
export async function isSigned(env: Env, purpose: Purpose, text: string, signature: string): Promise<boolean> {
  if (!/^[0-9a-f]{64}$/.test(signature)) return false;
  const bytes = Uint8Array.from(signature.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  return crypto.subtle.verify("HMAC", await keyOf(env), bytes, message(purpose, text));
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
