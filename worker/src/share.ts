// The gallery as an app: its manifest, and where Android sends what is shared with it.

import type { Env } from "./env";
import { nameOf, sharedText } from "./http";

// As in src/site/style/base.css and src/site/sw.ts.
const ground = "#faf8f5";
const sharePath = "/share";
const fileField = "images";

/** GET /manifest.webmanifest */
export async function getManifest(request: Request, env: Env): Promise<Response> {
  const manifest = {
    id: "/",
    name: nameOf(env),
    description: env.DESCRIPTION,
    start_url: "/",
    scope: "/",
    display: "standalone",
    background_color: ground,
    theme_color: ground,
    icons: [
      { src: "/icon.svg", sizes: "any", type: "image/svg+xml" },
      { src: "/icon-192.png", sizes: "192x192", type: "image/png" },
      { src: "/icon-512.png", sizes: "512x512", type: "image/png", purpose: "maskable" },
    ],
    share_target: {
      action: sharePath,
      method: "POST",
      enctype: "multipart/form-data",
      params: { files: [{ name: fileField, accept: ["image/*"] }] },
    },
  };
  const response = await sharedText(request, JSON.stringify(manifest), "application/manifest+json");
  // Browsers look at it with each visit.
  response.headers.set("Cache-Control", "public, max-age=86400");
  return response;
}

/**
 * POST /share: the page's service worker answers this on the phone, and keeps the images. Here
 * it arrives if the browser has lost that: the page says so, and installs it again.
 */
export async function postShare(request: Request): Promise<Response> {
  // A response that comes before the end of the form can get lost.
  await request.body?.pipeTo(new WritableStream());
  return new Response(null, { status: 303, headers: { Location: "/?shared=failed", "Cache-Control": "no-store" } });
}
