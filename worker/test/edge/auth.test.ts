import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { ProblemBody, Session } from "../../src/api";
import { Worker, origin, ownerToken, seen } from "./harness";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const worker = new Worker();

function signIn(token: string, more: object = {}): Promise<Response> {
  return worker.fetch("/api/session", { method: "POST", body: JSON.stringify({ token, ...more }) });
}

async function session(): Promise<string> {
  const cookie = (await signIn(ownerToken)).headers.get("Set-Cookie") ?? "";
  return cookie.split(";")[0] ?? "";
}

async function isOwner(headers: Record<string, string>): Promise<boolean> {
  return (await (await worker.fetch("/api/session", { headers })).json<Session>()).owner;
}

test("the token is exchanged for a cookie of this host, and signing out ends its session", async () => {
  const response = await signIn(ownerToken);
  expect(response.status).toBe(204);
  const cookie = response.headers.get("Set-Cookie") ?? "";
  expect(cookie).toMatch(
    /^__Host-owner=[0-9a-f-]{36}\.\d+\.[0-9a-f]{64}; Path=\/; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure$/,
  );
  const Cookie = cookie.split(";")[0] ?? "";
  expect(await isOwner({ Cookie: `a=b; ${Cookie}; c=d` })).toBe(true);
  const other = await session();
  const end = await worker.fetch("/api/session", { method: "DELETE", headers: { Cookie } });
  expect([end.status, end.headers.get("Set-Cookie")]).toEqual([
    204,
    expect.stringMatching(/^__Host-owner=; Path=\/; Max-Age=0;/),
  ]);
  // A stolen copy of the cookie is worth nothing now; another browser stays signed in.
  expect(await isOwner({ Cookie })).toBe(false);
  expect(await isOwner({ Cookie: other })).toBe(true);
});

test("a cookie that a sibling subdomain has set neither signs in nor out", async () => {
  const Cookie = await session();
  const tossed = Cookie.replace("__Host-", "");
  expect(await isOwner({ Cookie: tossed })).toBe(false);
  expect(await isOwner({ Cookie: `owner=1.${"0".repeat(64)}; ${Cookie}` })).toBe(true);
});

test("forged cookies cause no reads", async () => {
  const forged = `__Host-owner=${crypto.randomUUID()}.9999999999.${"0".repeat(64)}`;
  expect(await isOwner({ Cookie: forged })).toBe(false);
  expect(worker.invocations.at(-1)).toMatchObject({ external: 0, internal: 0 });
});

describe("with the real limit on sign-in attempts", () => {
  const limited = () => new Worker({ SIGN_INS: env.SIGN_INS });
  const attempt = (from: string, token: string) =>
    limited().fetch("/api/session", {
      method: "POST",
      body: JSON.stringify({ token }),
      headers: { "CF-Connecting-IP": from },
    });

  test.each([
    ["one IPv4 address", () => "192.0.2.7"],
    ["the addresses of one /64", (n: number) => `2001:db8:0:7::${(n * 1601).toString(16)}:${n}`],
  ])("%s cannot guess without end", async (_, address) => {
    const statuses: number[] = [];
    for (let n = 0; n < 40; n++) statuses.push((await attempt(address(n), `guess ${n}`)).status);
    // The limit's minute may end in between, but it ends once at most.
    expect(statuses.filter((status) => status === 401).length).toBeLessThanOrEqual(20);
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThanOrEqual(20);
    // Who lives elsewhere can sign in.
    expect((await attempt("2001:db8:0:8::1", ownerToken)).status).toBe(204);
  });
});

test("on localhost the cookie goes without Secure, and works", async () => {
  for (const [at, secure] of [
    ["http://localhost:8787", false],
    ["http://example.com", true],
  ] as const) {
    const response = await worker.fetch(`${at}/api/session`, {
      method: "POST",
      body: JSON.stringify({ token: ownerToken }),
    });
    const cookie = response.headers.get("Set-Cookie") ?? "";
    expect(cookie.includes("Secure")).toBe(secure);
    const asked = await worker.fetch(`${at}/api/session`, { headers: { Cookie: cookie.split(";")[0] ?? "" } });
    expect(await asked.json<Session>()).toEqual({ owner: true, guest: false, private: false });
  }
});

test.each(["", "wrong", `${ownerToken} `])("the token %j is refused", async (token) => {
  const response = await signIn(token);
  expect([response.status, response.headers.get("Set-Cookie")]).toEqual([401, null]);
});

test.each(["", "[]", "{}", '{"token": 1}', "nonsense"])("the body %j is refused", async (body) => {
  expect((await worker.fetch("/api/session", { method: "POST", body })).status).toBe(400);
});

test("a long body is not read", async () => {
  expect((await worker.fetch("/api/session", { method: "POST", body: "x".repeat(9000) })).status).toBe(413);
});

test("a cookie that was changed, or is too old, is none", async () => {
  const cookie = await session();
  expect(await isOwner({ Cookie: cookie })).toBe(true);
  expect(await isOwner({})).toBe(false);
  expect(await isOwner({ Cookie: cookie.replace(/(.)$/, (_, digit: string) => (digit === "0" ? "1" : "0")) })).toBe(
    false,
  );
  expect(await isOwner({ Cookie: cookie.replace(/\.(\d+)/, (_, time: string) => `.${Number(time) + 1}`) })).toBe(false);
  vi.useFakeTimers({ now: Date.now() + 31 * 24 * 3600_000 });
  expect(await isOwner({ Cookie: cookie })).toBe(false);
});

test("a new token ends the sessions of the old", async () => {
  const cookie = await session();
  const later = new Worker({ UPLOAD_TOKEN: "the next token" });
  expect(await (await later.fetch("/api/session", { headers: { Cookie: cookie } })).json()).toEqual({
    owner: false,
    guest: false,
    private: false,
  });
});

test("where no secret is set nobody is the owner", async () => {
  for (const missing of [{ UPLOAD_TOKEN: "" }, { SESSION_SECRET: "" }]) {
    const bare = new Worker(missing);
    for (const token of ["", "undefined", ownerToken]) {
      const response = await bare.fetch("/api/session", { method: "POST", body: JSON.stringify({ token }) });
      expect(response.status).toBe(401);
    }
  }
});

const writes: [string, string][] = [
  ["POST", "/api/images"],
  ["DELETE", `/api/images/${"a".repeat(26)}`],
  ["GET", `/api/uploads/job_${"0".repeat(26)}`],
];

test.each(writes)("%s %s is the owner's alone", async (method, path) => {
  await seen();
  for (const headers of [
    {},
    { Authorization: "Bearer wrong" },
    { Authorization: "Basic eDp5" },
    { Cookie: `__Host-owner=${crypto.randomUUID()}.9999999999.00` },
  ]) {
    const response = await worker.fetch(path, { method, headers });
    expect(response.status).toBe(401);
    expect(await response.json<ProblemBody>()).toMatchObject({ code: "unauthorized" });
  }
  expect(await seen()).toEqual([]);
});

test("a session writes from this site's own pages only", async () => {
  const Cookie = await session();
  const path = `/api/images/${"a".repeat(26)}`;
  const status = async (headers: Record<string, string>) =>
    (await worker.fetch(path, { method: "DELETE", headers: { Cookie, ...headers } })).status;
  expect(await status({})).toBe(403);
  expect(await status({ Origin: "https://evil.example.com" })).toBe(403);
  expect(await status({ Origin: "null" })).toBe(403);
  expect(await status({ "Sec-Fetch-Site": "same-site" })).toBe(403);
  expect(await status({ Origin: origin })).toBe(204);
  expect(await status({ Origin: new URL(env.PUBLIC_URL).origin })).toBe(204);
  expect(await status({ "Sec-Fetch-Site": "same-origin" })).toBe(204);
});

test("the origin of a write is compared exactly", async () => {
  const Cookie = await session();
  const path = `/api/images/${"a".repeat(26)}`;
  for (const PUBLIC_URL of ["", "https://gallery.example.com", "https://gallery.example.com/path"]) {
    const other = new Worker({ PUBLIC_URL });
    for (const Origin of ["", "https:", "https://gallery.example.co", "https://gallery.example.com.evil.example"]) {
      const response = await other.fetch(path, { method: "DELETE", headers: { Cookie, Origin } });
      expect([PUBLIC_URL, Origin, response.status]).toEqual([PUBLIC_URL, Origin, 403]);
    }
  }
});

test("Turnstile, if it is set up, is asked before the token is looked at", async () => {
  const guarded = new Worker({ TURNSTILE_SECRET: "t" });
  const status = async (body: object) =>
    (await guarded.fetch("/api/session", { method: "POST", body: JSON.stringify(body) })).status;
  const ask = vi.spyOn(globalThis, "fetch");
  expect(await status({ token: ownerToken })).toBe(403);
  expect(ask).not.toHaveBeenCalled();
  ask.mockResolvedValueOnce(Response.json({ success: false }));
  expect(await status({ token: ownerToken, turnstile: "x" })).toBe(403);
  ask.mockResolvedValueOnce(Response.json({ success: true }));
  expect(await status({ token: ownerToken, turnstile: "x" })).toBe(204);
  expect(ask.mock.calls.map(([url]) => url)).toEqual(
    Array(2).fill("https://challenges.cloudflare.com/turnstile/v0/siteverify"),
  );
});

test("every answer of the API has its headers, errors too", async () => {
  for (const path of ["/api/session", "/api/images", "/api/nothing", "/api/uploads/x"]) {
    const { headers } = await worker.fetch(path);
    expect(headers.get("Cache-Control")).toBe("no-store");
    expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
    expect(headers.get("Content-Security-Policy")).toContain("default-src 'none'");
  }
  const wrong = await worker.fetch("/api/images", { method: "PATCH" });
  expect([wrong.status, wrong.headers.get("Allow")]).toEqual([405, "GET, POST"]);
});

test("all else is the site", async () => {
  const response = await worker.fetch("/");
  expect([response.status, response.headers.get("Content-Type")]).toEqual([200, "text/html; charset=utf-8"]);
});
