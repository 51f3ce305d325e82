// Removing images from the edge's caches, in all data centers, by Cloudflare's API.
// What a Worker puts into the cache can be purged by tag, not by URL.

import type { Env } from "./env";

const api = "https://api.cloudflare.com/client/v4";
const timeout = 10_000; // ms

/** The tag of listings that several visitors share. */
export const listTag = "list";

/** Whether the Worker has a token that may purge the zone of its domain. */
export function canPurge(env: Env): boolean {
  return Boolean(env.ZONE_ID && env.PURGE_TOKEN);
}

/** Removes what has one of these tags, and the listings. Throws if Cloudflare does not confirm it. */
export async function purgeTags(env: Env, tags: string[]): Promise<void> {
  const response = await fetch(`${api}/zones/${env.ZONE_ID}/purge_cache`, {
    method: "POST",
    headers: { Authorization: `Bearer ${env.PURGE_TOKEN}`, "Content-Type": "application/json" },
    body: JSON.stringify({ tags: [...tags, listTag] }),
    signal: AbortSignal.timeout(timeout),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`the cache was not purged: ${response.status}`);
}

/** A response as the cache keeps it. */
export function tagged(response: Response, tag: string): Response {
  const copy = new Response(response.body, response);
  copy.headers.set("Cache-Tag", tag);
  return copy;
}
