// Outgoing webhooks: an image was published, or deleted. Signed as the daemon's are
// (Standard Webhooks), delivered by the queue.

import { Webhook } from "standardwebhooks";
import type { HookEvent } from "./api";
import { pageUrl } from "./embed";
import type { Env, Work } from "./env";
import { findImage } from "./find";
import { toPublic } from "./image";

/** For an answer, ms. */
const timeout = 10_000;

type Message = Extract<Work, { kind: "hook" }>;

/**
 * Enqueues a webhook for each address of HOOK_URLS. cause identifies the event
 * among those of the image: one that is announced twice has the same webhook-id.
 */
export async function announce(env: Env, type: HookEvent["type"], image: string, cause: string): Promise<void> {
  for (const url of (env.HOOK_URLS ?? "").split(/\s+/).filter((one) => one !== "")) {
    await env.WORK.send({ kind: "hook", url, type, image, id: `msg_${image}_${cause}`, at: new Date().toISOString() });
  }
}

/** Delivers a webhook; throws if it has to be delivered later. */
export async function deliverHook(env: Env, { url, type, image, id, at }: Message): Promise<void> {
  if (!env.HOOK_SECRET) throw new Error("HOOK_SECRET is not set");
  const event = await eventOf(env, type, image, at);
  if (event === null) return;
  const body = JSON.stringify(event);
  const now = new Date();
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "User-Agent": "optimizerd-gallery",
      "webhook-id": id,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
      "webhook-signature": new Webhook(env.HOOK_SECRET).sign(id, now, body),
    },
    body,
    redirect: "manual",
    signal: AbortSignal.timeout(timeout),
  });
  await response.body?.cancel();
  // 410: the receiver wants no more of it.
  if (!response.ok && response.status !== 410) throw new Error(`${new URL(url).host} answered with ${response.status}`);
}

/** Null: the image was deleted before its publication could be delivered. */
async function eventOf(env: Env, type: HookEvent["type"], image: string, timestamp: string): Promise<HookEvent | null> {
  const site = env.PUBLIC_URL.replace(/\/+$/, "");
  if (type === "image.deleted") return { type, timestamp, data: { id: image, url: pageUrl({ id: image }, site) } };
  const found = await findImage(env, image);
  return found && { type, timestamp, data: toPublic(found, site) };
}
