// The Cloudflare end of optimizerd. This file contains the routes; see
// README.md.

import { deleteSession, getSession, postSession } from "./auth";
import { deliver } from "./deliver";
import type { Env, Work } from "./env";
import { deleteOne, getImages } from "./gallery";
import { Problem } from "./http";
import { OptimizerError } from "./optimizer";
import { consume } from "./queue";
import { getUpload, postUpload } from "./upload";
import { postWebhook } from "./webhook";

type Handler = (request: Request, env: Env, ctx: ExecutionContext, id: string) => Response | Promise<Response>;

const routes: { path: RegExp; methods: Record<string, Handler> }[] = [
  { path: /^\/api\/session$/, methods: { GET: getSession, POST: postSession, DELETE: deleteSession } },
  { path: /^\/api\/images$/, methods: { GET: getImages, POST: postUpload } },
  { path: /^\/api\/images\/([^/]+)$/, methods: { DELETE: (request, env, _, id) => deleteOne(request, env, id) } },
  { path: /^\/api\/uploads\/([^/]+)$/, methods: { GET: (request, env, _, id) => getUpload(request, env, id) } },
  { path: /^\/api\/webhook$/, methods: { POST: postWebhook } },
  { path: /^\/images\/([^/]+)$/, methods: { GET: deliver, HEAD: deliver } },
];

function route(request: Request, env: Env, ctx: ExecutionContext): Response | Promise<Response> {
  const { pathname } = new URL(request.url);
  for (const { path, methods } of routes) {
    const match = path.exec(pathname);
    if (match === null) continue;
    const handler = methods[request.method];
    if (handler) return handler(request, env, ctx, match[1] ?? "");
    throw new Problem(405, "method_not_allowed", "Method not allowed.", {
      Allow: Object.keys(methods).join(", "),
    });
  }
  if (pathname.startsWith("/api/") || pathname.startsWith("/images/")) {
    throw new Problem(404, "not_found", "There is no resource at this path.");
  }
  return env.ASSETS.fetch(request);
}

export default {
  async fetch(request, env, ctx): Promise<Response> {
    try {
      return await route(request, env, ctx);
    } catch (error) {
      if (error instanceof Problem) return error.response();
      if (error instanceof OptimizerError) return error.problem().response();
      console.error(error);
      return new Problem(500, "internal", "Internal error; try again later.").response();
    }
  },

  async queue(batch, env): Promise<void> {
    await consume(batch.messages, env);
  },
} satisfies ExportedHandler<Env, Work>;
