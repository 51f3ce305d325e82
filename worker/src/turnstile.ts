// Optional Cloudflare Turnstile check, which keeps bots from guessing the
// owner's token. It is off until TURNSTILE_SECRET is set; then the sign-in form
// must show the widget and send its response: {"token": "…", "turnstile": "…"}.

import type { Env } from "./env";

const siteverify = "https://challenges.cloudflare.com/turnstile/v0/siteverify";

export async function passedTurnstile(request: Request, env: Env, answer: string): Promise<boolean> {
  if (!env.TURNSTILE_SECRET) return true;
  if (answer === "") return false;
  const verdict = await fetch(siteverify, {
    method: "POST",
    body: new URLSearchParams({
      secret: env.TURNSTILE_SECRET,
      response: answer,
      remoteip: request.headers.get("CF-Connecting-IP") ?? "",
    }),
    signal: AbortSignal.timeout(10_000),
  });
  if (!verdict.ok) return false;
  const { success } = await verdict.json<{ success: boolean }>();
  return success === true;
}
