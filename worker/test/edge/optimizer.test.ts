// By which way the daemon is reached, and with what.

import { afterEach, expect, test, vi } from "vitest";
import type { Env } from "../../src/env";
import { OptimizerError, optimizer } from "../../src/optimizer";
import { Worker } from "./harness";

afterEach(() => vi.restoreAllMocks());

function withoutBinding(more: Partial<Env>): Env {
  const { OPTIMIZER: _, ...rest } = new Worker().env;
  return { ...rest, ...more };
}

test("the tunnel's hostname, with the tokens of Access and of the daemon", async () => {
  const ask = vi.spyOn(globalThis, "fetch").mockResolvedValue(new Response("ok"));
  const env = withoutBinding({
    OPTIMIZER_URL: "https://img.example.com/",
    ACCESS_CLIENT_ID: "id.access",
    ACCESS_CLIENT_SECRET: "s",
  });
  await optimizer(env, "/v1/images/x");
  const [url, init] = ask.mock.calls[0] ?? [];
  expect([url, init?.redirect]).toEqual(["https://img.example.com/v1/images/x", "manual"]);
  expect(Object.fromEntries(new Headers(init?.headers))).toEqual({
    authorization: "Bearer a-token-of-the-tests-alone",
    "cf-access-client-id": "id.access",
    "cf-access-client-secret": "s",
  });
});

test("the binding, without the tokens of Access", async () => {
  const fetcher = { fetch: vi.fn().mockResolvedValue(new Response("ok")) };
  await optimizer(
    { ...new Worker().env, OPTIMIZER: fetcher as unknown as Fetcher, ACCESS_CLIENT_ID: "a", ACCESS_CLIENT_SECRET: "b" },
    "/healthz",
  );
  const [url, init] = fetcher.fetch.mock.calls[0] as [string, RequestInit];
  expect(url).toBe("http://optimizer/healthz");
  expect([...new Headers(init.headers).keys()]).toEqual(["authorization"]);
});

test.each([
  [new Response(null, { status: 302, headers: { Location: "https://login/" } }), { code: "optimizer_refused" }, 502],
  [new Response("no", { status: 403 }), { code: "optimizer_refused" }, 502],
  [new Response("<html>", { status: 530 }), { code: "optimizer_unavailable" }, 503],
  [new Response(null, { status: 413 }), { code: "too_large" }, 413],
  [
    Response.json({ code: "queue_full", detail: "d" }, { status: 429, headers: { "Retry-After": "7" } }),
    { code: "queue_full", retryAfter: 7 },
    429,
  ],
])("the answer %#", async (response, error, status) => {
  vi.spyOn(globalThis, "fetch").mockResolvedValue(response);
  const failure = await optimizer(withoutBinding({ OPTIMIZER_URL: "https://img.example.com" }), "/x").catch(
    (e: unknown) => e,
  );
  expect(failure).toBeInstanceOf(OptimizerError);
  expect(failure).toMatchObject(error);
  expect((failure as OptimizerError).problem().status).toBe(status);
});
