// The Cloudflare end of optimizerd. This file contains the routes; see
// README.md.

import { postLink, requireReader } from "./access";
import { deleteSession, getSession, postSession } from "./auth";
import { deliver } from "./deliver";
import type { Env, Work } from "./env";
import { migrate } from "./catalog";
import { getJSONFeed, getRSS } from "./feed";
import { deleteOne, getImage, getImages } from "./gallery";
import { deleteInvite, getInvites, postInvite } from "./guests";
import { Problem, keepPrivate, keepUnlisted, openToAll } from "./http";
import { OptimizerError } from "./optimizer";
import { getHome, getPage, getTagPage } from "./page";
import { tick } from "./inbox";
import { consume } from "./queue";
import { getRemake, postRemake } from "./remake";
import { getManifest, postShare } from "./share";
import { getTrash, postRestore, postTrash } from "./trash";
import { completeParts, getUpload, postParts, postUpload, putPart, retryUpload } from "./upload";
import { postWebhook } from "./webhook";
import { patchImage } from "./words";

/** parts are what the parentheses of the path match. */
type Handler = (request: Request, env: Env, ctx: ExecutionContext, ...parts: string[]) => Response | Promise<Response>;

const deliverOne: Handler = (request, env, ctx, id = "") => deliver(request, env, ctx, id);

/** open: visitors, and pages of all origins, may read it, unless the gallery is private. */
const routes: { path: RegExp; methods: Record<string, Handler>; open?: true }[] = [
  { path: /^\/api\/session$/, methods: { GET: getSession, POST: postSession, DELETE: deleteSession } },
  { path: /^\/api\/images$/, methods: { GET: getImages, POST: postUpload }, open: true },
  {
    path: /^\/api\/images\/([^/]+)$/,
    methods: {
      GET: (request, env, _, id = "") => getImage(request, env, id),
      PATCH: (request, env, _, id = "") => patchImage(request, env, id),
      DELETE: (request, env, _, id = "") => deleteOne(request, env, id),
    },
    open: true,
  },
  {
    path: /^\/api\/images\/([^/]+)\/link$/,
    methods: { POST: (request, env, _, id = "") => postLink(request, env, id) },
  },
  {
    path: /^\/api\/images\/([^/]+)\/trash$/,
    methods: { POST: (request, env, _, id = "") => postTrash(request, env, id) },
  },
  {
    path: /^\/api\/images\/([^/]+)\/restore$/,
    methods: { POST: (request, env, _, id = "") => postRestore(request, env, id) },
  },
  { path: /^\/api\/trash$/, methods: { GET: getTrash } },
  { path: /^\/api\/uploads$/, methods: { POST: postParts } },
  {
    path: /^\/api\/uploads\/([^/]+)$/,
    methods: {
      GET: (request, env, _, id = "") => getUpload(request, env, id),
      POST: (request, env, ctx, id = "") => completeParts(request, env, ctx, id),
    },
  },
  {
    path: /^\/api\/uploads\/([^/]+)\/retry$/,
    methods: { POST: (request, env, _, id = "") => retryUpload(request, env, id) },
  },
  {
    path: /^\/api\/uploads\/([^/]+)\/([1-9][0-9]{0,4})$/,
    methods: { PUT: (request, env, _, id = "", part = "") => putPart(request, env, id, part) },
  },
  { path: /^\/api\/invites$/, methods: { GET: getInvites, POST: postInvite } },
  {
    path: /^\/api\/invites\/([^/]+)$/,
    methods: { DELETE: (request, env, _, id = "") => deleteInvite(request, env, id) },
  },
  { path: /^\/api\/remake$/, methods: { GET: getRemake, POST: postRemake } },
  { path: /^\/api\/webhook$/, methods: { POST: postWebhook } },
  { path: /^\/images\/([^/]+)$/, methods: { GET: deliverOne, HEAD: deliverOne }, open: true },
  { path: /^\/$/, methods: { GET: getHome } },
  { path: /^\/p\/([^/]+)$/, methods: { GET: (request, env, _, id = "") => getPage(request, env, id) } },
  {
    path: /^\/t\/([^/]+)$/,
    methods: { GET: (request, env, ctx, tag = "") => getTagPage(request, env, ctx, tag) },
  },
  { path: /^\/manifest\.webmanifest$/, methods: { GET: getManifest } },
  { path: /^\/share$/, methods: { POST: postShare } },
  { path: /^\/feed\.json$/, methods: { GET: getJSONFeed }, open: true },
  { path: /^\/feed\.xml$/, methods: { GET: getRSS }, open: true },
];

async function route(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  const { pathname } = new URL(request.url);
  for (const { path, methods, open } of routes) {
    const match = path.exec(pathname);
    if (match === null) continue;
    const reads = open && (request.method === "GET" || request.method === "HEAD");
    if (env.PRIVATE) return keepPrivate(await answer(methods, request, env, ctx, match.slice(1), reads));
    if (open && request.method === "OPTIONS") return openToAll(preflight());
    const response = await answer(methods, request, env, ctx, match.slice(1));
    return reads ? openToAll(response) : response;
  }
  if (pathname.startsWith("/api/") || pathname.startsWith("/images/")) {
    return new Problem(404, "not_found", "There is no resource at this path.").response();
  }
  return env.ASSETS.fetch(request);
}

/** Runs the handler of a method; that of GET answers HEAD too. asReader: only for those who may see the image. */
async function answer(
  methods: Record<string, Handler>,
  request: Request,
  env: Env,
  ctx: ExecutionContext,
  parts: string[],
  asReader = false,
): Promise<Response> {
  const { method } = request;
  const handler = methods[method] ?? (method === "HEAD" ? methods["GET"] : undefined);
  try {
    if (!handler) {
      const Allow = Object.keys(methods).join(", ");
      throw new Problem(405, "method_not_allowed", "Method not allowed.", { Allow });
    }
    if (asReader) await requireReader(request, env, parts[0] ?? null);
    const handled = Promise.resolve(handler(request, env, ctx, ...parts));
    // Its client may go, as a phone does that locks itself: what has begun to change must be completed.
    if (method !== "GET" && method !== "HEAD") ctx.waitUntil(handled.catch(() => undefined));
    const response = await handled;
    if (method === "HEAD") await response.body?.cancel();
    return method === "HEAD" ? new Response(null, response) : response;
  } catch (error) {
    const response = problemOf(error).response();
    return method === "HEAD" ? new Response(null, response) : response;
  }
}

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof OptimizerError) return error.problem();
  console.error(error);
  return new Problem(500, "internal", "Internal error; try again later.");
}

/** Only for reading: what changes anything is for this site's own pages, and for programs. */
function preflight(): Response {
  const methods = { "Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Max-Age": "86400" };
  return new Response(null, { status: 204, headers: methods });
}

export default {
  async fetch(request, env, ctx): Promise<Response> {
    const response = await route(request, env, ctx);
    return env.NOINDEX ? keepUnlisted(response) : response;
  },

  async scheduled(_, env): Promise<void> {
    await tick(env);
    await migrate(env);
  },

  async queue(batch, env): Promise<void> {
    await consume(batch.messages, env);
  },
} satisfies ExportedHandler<Env, Work>;
