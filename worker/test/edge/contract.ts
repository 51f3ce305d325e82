// Holds every response of the Worker under test against openapi.yaml.

import * as compiled from "virtual:contract";

interface Answer {
  $ref?: string;
  content?: Record<string, { schema?: { $ref: string } }>;
}
interface Operation {
  responses: Record<string, Answer>;
}

const { document } = compiled;
export const paths = document.paths as Record<string, Record<string, Operation>>;
const shared = document.components.responses as Record<string, Answer>;
const checks = compiled as unknown as Record<string, ((data: unknown) => boolean) & { errors?: unknown[] }>;
const last = (ref: string) => ref.slice(ref.lastIndexOf("/") + 1);

/** The template in the document; the most literal one, as paths may match several. */
function templateOf(pathname: string): string | undefined {
  return Object.keys(paths)
    .filter((template) => new RegExp(`^${template.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(pathname))
    .sort((a, b) => a.split("{").length - b.split("{").length)[0];
}

/** Returns what the document does not allow in a response; null if it is as described. */
export function objectionTo(method: string, pathname: string, response: Response, body: string): string | null {
  const { status } = response;
  const what = `${method} ${pathname} ${status}`;
  const type = (response.headers.get("Content-Type") ?? "").split(";")[0] ?? "";
  const template = templateOf(pathname);
  const operation = template && paths[template]?.[method === "HEAD" ? "get" : method.toLowerCase()];
  if (!operation) {
    // Pages and files of the site are not the API's.
    const isRefused = [404, 405].includes(status) || method === "OPTIONS" || !/^\/(api|images)\//.test(pathname);
    return isRefused ? null : `${what}: not in openapi.yaml`;
  }
  const answer = operation.responses[status];
  if (!answer) return status === 500 ? null : `${what}: this status is not in openapi.yaml`;
  const { content } = answer.$ref ? (shared[last(answer.$ref)] as Answer) : answer;
  if (method === "HEAD") return body === "" ? null : `${what}: HEAD has a body`;
  if (!content) return body === "" ? null : `${what}: has a body`;
  const described = content[type];
  if (!described) return `${what}: ${type} is not in openapi.yaml`;
  if (!described.schema) return null;
  const check = checks[last(described.schema.$ref)];
  if (!check) return `${what}: no schema`;
  return check(JSON.parse(body))
    ? null
    : `${what}: ${JSON.stringify(check.errors?.slice(0, 3))} in ${body.slice(0, 500)}`;
}
