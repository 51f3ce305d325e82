// The owner's list of invites (invite.ts).

import { renderSVG } from "uqr";
import type { InviteList, NewInvite } from "./api";
import { requireOwner } from "./auth";
import type { Env } from "./env";
import { Problem, json, noContent, parseJSON, readText, siteOf } from "./http";
import { createInvite, listInvites, revokeInvite } from "./invite";

const maxBody = 1 << 10;
const maxName = 100;
const maxDays = 366;
const defaultDays = 90;

/** GET /api/invites */
export async function getInvites(request: Request, env: Env): Promise<Response> {
  await requireOwner(request, env);
  return json({ invites: await listInvites(env) } satisfies InviteList);
}

/** POST /api/invites {"name": "…", "days": n}. The token is in no other response. */
export async function postInvite(request: Request, env: Env): Promise<Response> {
  await requireOwner(request, env);
  const { name, days } = parseInvite((await readText(request, maxBody)) ?? "?");
  const { invite, token } = await createInvite(env, name, days);
  // Behind a #, where no server, log or preview of a messenger sees it.
  const url = `${siteOf(request, env)}/#invite=${token}`;
  const qr = `data:image/svg+xml,${encodeURIComponent(renderSVG(url, { ecc: "M", border: 4 }))}`;
  return json({ ...invite, token, url, qr } satisfies NewInvite, 201);
}

/** DELETE /api/invites/{id} */
export async function deleteInvite(request: Request, env: Env, id: string): Promise<Response> {
  await requireOwner(request, env);
  await revokeInvite(env, id);
  return noContent();
}

function parseInvite(text: string): { name: string; days: number } {
  const body = text === "" ? {} : parseJSON(text);
  const { name = "", days = defaultDays } = (body ?? {}) as { name?: unknown; days?: unknown };
  if (typeof body !== "object" || typeof name !== "string" || [...name].length > maxName || !isDays(days)) {
    throw new Problem(
      400,
      "invalid_request",
      `The body must be {"name": "…", "days": n}: at most ${maxName} characters, and 1 to ${maxDays} days.`,
    );
  }
  return { name: name.trim(), days };
}

function isDays(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= maxDays;
}
