// Invites: who has one may add images, until it is revoked or has expired.

import { env } from "cloudflare:workers";
import { reset } from "cloudflare:test";
import { afterAll, afterEach, expect, test, vi } from "vitest";
import type { InviteList, NewInvite, ProblemBody, Session } from "../../src/api";
import { Worker, lengthOf, origin, photo } from "./harness";

afterEach(() => void vi.useRealTimers());
afterAll(() => reset());

const worker = new Worker();

async function invite(body: object = {}): Promise<NewInvite> {
  const response = await worker.owner("/api/invites", { method: "POST", body: JSON.stringify(body) });
  expect(response.status).toBe(201);
  return response.json();
}

async function list(): Promise<InviteList["invites"]> {
  return (await (await worker.owner("/api/invites")).json<InviteList>()).invites;
}

/** Signs a browser in; returns its headers. */
async function accept({ token }: NewInvite): Promise<Record<string, string>> {
  const response = await worker.fetch("/api/session", { method: "POST", body: JSON.stringify({ token }) });
  expect(response.status).toBe(204);
  const cookie = response.headers.get("Set-Cookie") ?? "";
  expect(cookie).toMatch(/^__Host-guest=[^;]+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Strict; Secure$/);
  return { Cookie: cookie.split(";")[0] ?? "", Origin: origin };
}

const session = async (headers: Record<string, string>) =>
  (await worker.fetch("/api/session", { headers })).json<Session>();

async function add(headers: Record<string, string>): Promise<Response> {
  const body = await photo("test_square.jpg");
  return worker.fetch("/api/images", { method: "POST", body, headers: { ...headers, ...lengthOf(body) } });
}

test("a link with its QR code, a browser that adds and follows its upload, and signs out", async () => {
  const made = await invite({ name: " Mia's phone ", days: 7 });
  expect(made.url).toBe(`${origin}/#invite=${made.token}`);
  expect(made.qr).toMatch(/^data:image\/svg\+xml,%3Csvg/);
  expect(Date.parse(made.expires_at) - Date.parse(made.created_at)).toBeGreaterThan(6.9 * 86_400_000);
  const { token: _, url: __, qr: ___, ...listed } = made;
  expect(await list()).toEqual([{ ...listed, name: "Mia's phone" }]);

  const phone = await accept(made);
  expect(await session(phone)).toEqual({ owner: false, guest: true, private: false });
  const response = await add(phone);
  expect(response.status).toBe(202);
  const { upload } = await response.json<{ upload: string }>();
  expect((await worker.fetch(`/api/uploads/${upload}`, { headers: phone })).status).toBe(200);
  // Only from the gallery's own pages.
  expect((await add({ ...phone, Origin: "https://sibling.example.com" })).status).toBe(403);
  const end = await worker.fetch("/api/session", { method: "DELETE", headers: phone });
  expect(end.headers.getSetCookie()).toContainEqual(expect.stringMatching(/^__Host-guest=; Path=\/; Max-Age=0;/));
  await worker.owner(`/api/invites/${made.id}`, { method: "DELETE" });
});

test("it neither deletes nor changes images, nor invites others", async () => {
  const made = await invite();
  const id = "a".repeat(26);
  for (const headers of [await accept(made), { Authorization: `Bearer ${made.token}` }]) {
    for (const [method, path] of [
      ...[
        ["DELETE", `/api/images/${id}`],
        ["PATCH", `/api/images/${id}`],
        ["POST", `/api/images/${id}/link`],
      ],
      ...[
        ["GET", "/api/invites"],
        ["POST", "/api/invites"],
        ["DELETE", `/api/invites/${made.id}`],
      ],
      ...[
        ["POST", "/api/remake"],
        ["GET", "/api/remake"],
      ],
    ] as [string, string][]) {
      const response = await worker.fetch(path, { method, headers });
      expect([method, path, response.status]).toEqual([method, path, 403]);
      expect((await response.json<ProblemBody>()).code).toBe("owner_only");
    }
  }
});

test("as a bearer token, from a program that posts the bytes as they are", async () => {
  const { token } = await invite({ name: "shortcut" });
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/octet-stream" };
  expect((await add(headers)).status).toBe(202);
});

test("revoked, it is worth nothing: neither the link, nor the browsers that have used it", async () => {
  const made = await invite();
  const phone = await accept(made);
  expect((await worker.owner(`/api/invites/${made.id}`, { method: "DELETE" })).status).toBe(204);
  expect((await list()).map(({ id }) => id)).not.toContain(made.id);
  expect((await add(phone)).status).toBe(401);
  expect((await add({ Authorization: `Bearer ${made.token}` })).status).toBe(401);
  expect(await session(phone)).toMatchObject({ guest: false });
  const again = await worker.fetch("/api/session", { method: "POST", body: JSON.stringify({ token: made.token }) });
  expect(again.status).toBe(401);
  expect((await worker.owner("/api/invites/x", { method: "DELETE" })).status).toBe(404);
});

test("it expires, and then leaves the list", async () => {
  const made = await invite({ days: 1 });
  const phone = await accept(made);
  vi.useFakeTimers({ now: Date.now() + 86_400_000 + 1000, toFake: ["Date"] });
  expect((await add(phone)).status).toBe(401);
  expect((await list()).map(({ id }) => id)).not.toContain(made.id);
  expect(await env.IMAGES.head(`state/invites/${made.id}`)).toBeNull();
});

test("a forged one causes no reads, and a new UPLOAD_TOKEN ends all", async () => {
  const made = await invite();
  const forged = made.token.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
  const later = made.token.replace(/\.\d+\./, ".9999999999.");
  for (const token of [forged, later, made.id, "x"]) {
    expect(await session({ Cookie: `__Host-guest=${token}` })).toMatchObject({ guest: false });
    expect(worker.invocations.at(-1)).toMatchObject({ external: 0, internal: 0 });
  }
  const changed = new Worker({ UPLOAD_TOKEN: "another" });
  const response = await changed.fetch("/api/session", { headers: { Cookie: `__Host-guest=${made.token}` } });
  expect(await response.json<Session>()).toMatchObject({ guest: false });
});

test("in a private gallery it shows the list", async () => {
  const hidden = new Worker({ PRIVATE: true });
  const headers = await accept(await invite());
  const response = await hidden.fetch("/api/images", { headers });
  expect(response.status).toBe(200);
  expect(response.headers.get("Cache-Control")).not.toContain("public");
});

test.each(['{"days": 0}', '{"days": 367}', '{"days": "7"}', '{"name": 1}', `{"name": "${"x".repeat(101)}"}`, "[", "1"])(
  "%s is no invite",
  async (body) => {
    expect((await worker.owner("/api/invites", { method: "POST", body })).status).toBe(400);
  },
);
