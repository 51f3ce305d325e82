// The OpenAPI document. Each response of every test is held against it (harness.ts);
// this is about what no single response shows.

import { reset } from "cloudflare:test";
import { afterAll, expect, test } from "vitest";
import { objectionTo, paths } from "./contract";
import { Worker } from "./harness";

afterAll(() => reset());

const methods = ["get", "post", "put", "patch", "delete"];
const example = (template: string) => template.replace("{part}", "1").replaceAll(/\{\w+\}/g, "x");

test("the document and the routes have the same methods", async () => {
  const worker = new Worker();
  for (const [template, item] of Object.entries(paths)) {
    const response = await worker.fetch(example(template), { method: "PROPFIND" });
    expect([template, response.status]).toEqual([template, 405]);
    const allowed = (response.headers.get("Allow") ?? "").toLowerCase().split(", ");
    const documented = methods.filter((method) => method in item);
    // HEAD works wherever GET does, and is not documented by itself.
    expect([template, ...allowed.filter((method) => method !== "head").sort()]).toEqual([
      template,
      ...documented.sort(),
    ]);
  }
});

test.each([
  [
    "a field too many",
    "GET",
    "/api/session",
    200,
    "application/json",
    '{"owner":true,"guest":false,"private":false,"x":1}',
  ],
  ["a field missing", "GET", "/api/session", 200, "application/json", "{}"],
  ["another type", "GET", "/api/session", 200, "application/json", '{"owner":1,"guest":false,"private":false}'],
  ["another media type", "GET", "/api/session", 200, "text/plain", '{"owner":true,"guest":false,"private":false}'],
  ["another status", "GET", "/api/session", 418, "application/json", '{"owner":true,"guest":false,"private":false}'],
  ["another path", "GET", "/api/sessions", 200, "application/json", '{"owner":true,"guest":false,"private":false}'],
  ["a problem without a code", "GET", "/api/images/x", 404, "application/problem+json", '{"type":"a","title":"b"}'],
  ["a body where there is none", "DELETE", "/api/session", 204, "", "x"],
])("the check finds %s", (_, method, path, status, type, body) => {
  const shown = new Response(null, { status: status === 204 ? 204 : status, headers: { "Content-Type": type } });
  expect(objectionTo(method, path, shown, body)).not.toBeNull();
});

test("the check accepts what is documented", () => {
  const shown = new Response(null, { headers: { "Content-Type": "application/json" } });
  expect(objectionTo("GET", "/api/session", shown, '{"owner":true,"guest":false,"private":false}')).toBeNull();
});
