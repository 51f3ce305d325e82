// The routes.

import type { Env } from "./env";
import { Problem } from "./http";

export default {
  async fetch(request, env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (!pathname.startsWith("/api/") && !pathname.startsWith("/images/")) return env.ASSETS.fetch(request);
    return new Problem(404, "not_found", "There is nothing at this address.").response();
  },
} satisfies ExportedHandler<Env>;
