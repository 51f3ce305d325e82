// Responses. All of them are made here or in deliver.ts.

import type { ProblemBody } from "./api";
import type { Env } from "./env";

const apiHeaders = {
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
};

const titles: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  416: "Range Not Satisfiable",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  507: "Insufficient Storage",
};

/** An error for the client. Any other exception is a 500. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(`${status} ${code}: ${detail}`);
  }

  response(): Response {
    const body: ProblemBody = {
      type: "about:blank",
      title: titles[this.status] ?? "Error",
      status: this.status,
      detail: this.detail,
      code: this.code,
    };
    return new Response(JSON.stringify(body), {
      status: this.status,
      headers: { ...apiHeaders, "Content-Type": "application/problem+json", ...this.headers },
    });
  }
}

export function json(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { ...apiHeaders, "Content-Type": "application/json" },
  });
}

export function noContent(headers: Record<string, string> = {}): Response {
  return new Response(null, { status: 204, headers: { ...apiHeaders, ...headers } });
}

/** The Worker's address, without a slash at its end. */
export function siteOf(request: Request, env: Env): string {
  return (env.PUBLIC_URL || new URL(request.url).origin).replace(/\/+$/, "");
}

/** The gallery's name. Configurations of version 0.1 have none. */
export function nameOf(env: Env): string {
  return env.TITLE || "Gallery";
}

/** For everybody, and for caches: others may be shown what is a minute old. */
const shared = "public, max-age=60, stale-while-revalidate=600";

export function sharedJSON(request: Request, body: unknown): Promise<Response> {
  return sharedText(request, JSON.stringify(body), "application/json");
}

/** A response for everybody, or 304 if the client has it. */
export async function sharedText(request: Request, text: string, type: string): Promise<Response> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  const tag = `"${btoa(String.fromCharCode(...digest.subarray(0, 12)))}"`;
  const headers = { ...apiHeaders, "Content-Type": type, "Cache-Control": shared, ETag: tag };
  // The edge makes tags weak when it compresses.
  const known = (request.headers.get("If-None-Match") ?? "").split(",").map((one) => one.trim().replace(/^W\//, ""));
  if (known.includes(tag)) return new Response(null, { status: 304, headers });
  return new Response(text, { headers });
}

/** Lets pages of all origins read a response. (It never depends on their cookies: they do not send any.) */
export function openToAll(response: Response): Response {
  const opened = new Response(response.body, response);
  opened.headers.set("Access-Control-Allow-Origin", "*");
  opened.headers.set("Access-Control-Expose-Headers", "ETag, X-From");
  opened.headers.set("Cross-Origin-Resource-Policy", "cross-origin");
  return opened;
}

/** For this client alone: it keeps images for some minutes, and nothing that a signed-out browser could show again. */
export function keepPrivate(response: Response): Response {
  if (!(response.headers.get("Cache-Control") ?? "").includes("public")) return response;
  const kept = new Response(response.body, response);
  // A 304 for an image has no type.
  const isImage = response.headers.get("Content-Type")?.startsWith("image/") ?? true;
  kept.headers.set("Cache-Control", isImage ? "private, max-age=300" : "no-store");
  return kept;
}

/** For people and not for search engines. */
export function keepUnlisted(response: Response): Response {
  const kept = new Response(response.body, response);
  kept.headers.set("X-Robots-Tag", "noindex");
  return kept;
}

/** The bearer token of the request; "" if its Authorization is another. */
export function bearerOf(request: Request): string {
  const [, token = ""] = /^Bearer +(.+)$/i.exec(request.headers.get("Authorization") ?? "") ?? [];
  return token;
}

/** Reads the text of an untrusted body; null if it exceeds maxBytes. */
export async function readText(message: Request | Response, maxBytes: number): Promise<string | null> {
  if (message.body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  // Leaving the loop cancels the body.
  for await (const chunk of message.body as ReadableStream<Uint8Array>) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) return null;
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Parses JSON; undefined if it is invalid. */
export function parseJSON(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
