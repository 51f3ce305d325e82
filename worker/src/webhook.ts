// POST /api/webhook: receives the daemon's webhooks.

import { Webhook } from "standardwebhooks";
import type { Env } from "./env";
import { isEvent } from "./generated/validate";
import { Problem, noContent, parseJSON, readText } from "./http";
import { jobEnded } from "./inbox";

/** The largest manifest is about 25 kB. */
const maxBody = 256 << 10;

export async function postWebhook(request: Request, env: Env): Promise<Response> {
  const text = await readText(request, maxBody);
  if (text === null) throw new Problem(413, "too_large", `The webhook must be at most ${maxBody} bytes.`);
  if (!isSigned(env, request.headers, text)) {
    throw new Problem(401, "unauthorized", "The signature is not valid, or older than five minutes.");
  }
  const event = parseJSON(text);
  if (!isEvent(event)) throw new Problem(400, "invalid_request", "The body is not an event from the optimizer.");
  // Not signed, but neither is it of use to anybody without a signed body.
  await jobEnded(env, event.data, new URL(request.url).searchParams.get("upload") || null);
  return noContent();
}

function isSigned(env: Env, headers: Headers, text: string): boolean {
  const secrets = (env.WEBHOOK_SECRET ?? "").split(/\s+/).filter((secret) => secret !== "");
  return secrets.some((secret) => {
    try {
      new Webhook(secret).verify(text, Object.fromEntries(headers), { jsonParse: false });
      return true;
    } catch {
      return false;
    }
  });
}
