// GET /, /p/{id} and /t/{tag}: the gallery's page, as it is, opened at one image or with
// those of a tag. Messengers and search engines run no scripts, so title, description and
// preview are in its HTML.

import type { Image } from "./api";
import { escapeHtml, pageUrl, titleOf } from "./embed";
import type { Env } from "./env";
import { keepKey, keyLike, keyOf, mayRead } from "./access";
import { findImage } from "./find";
import { newest } from "./gallery";
import { nameOf, siteOf } from "./http";

/** Of the preview: most messengers want JPEG, at least 1200 pixels wide. */
const previewWidth = 1280;

/** What the HTML says of a page. */
interface Card {
  title: string;
  description: string;
  url: string;
  preview: Image;
  /** For the preview, in a private gallery. */
  key: string | null;
  /** Of an album. */
  tag: string | null;
}

export function getHome(request: Request, env: Env): Promise<Response> {
  return render(request, env, "home");
}

export async function getPage(request: Request, env: Env, id: string): Promise<Response> {
  if (!(await mayRead(request, env, id))) return render(request, env, "locked");
  const image = await findImage(env, id);
  if (image === null) return render(request, env, "gone");
  const title = titleOf(image) || "Image";
  const description = image.caption || `An image of ${image.width} × ${image.height} pixels.`;
  const asked = env.PRIVATE ? await keyOf(request, env, id) : null;
  // The files are under the image's own id.
  const key = asked === null || image.id === id ? asked : await keyLike(env, asked, image.id);
  const url = pageUrl(image, siteOf(request, env));
  const page = await render(request, env, { title, description, url, preview: image, key, tag: null });
  if (asked !== null) page.headers.append("Set-Cookie", keepKey(request, id, asked));
  if (key !== null && key !== asked) page.headers.append("Set-Cookie", keepKey(request, image.id, key));
  return page;
}

export async function getTagPage(
  request: Request,
  env: Env,
  ctx: ExecutionContext,
  encoded: string,
): Promise<Response> {
  if (!(await mayRead(request, env, null))) return render(request, env, "locked");
  const tag = decodeTag(encoded);
  const [image] = tag === null ? [] : await newest(request, env, ctx, 1, tag);
  if (tag === null || image === undefined) return render(request, env, "gone");
  const url = `${siteOf(request, env)}/t/${encodeURIComponent(tag)}`;
  const description = `Images tagged “${tag}”.`;
  return render(request, env, { title: tag, description, url, preview: image, key: null, tag });
}

function decodeTag(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}

/** gone: what was looked for is not there. locked: the page only asks to sign in. */
async function render(request: Request, env: Env, card: Card | "home" | "gone" | "locked"): Promise<Response> {
  const page = await env.ASSETS.fetch(new Request(new URL("/", request.url)));
  const headers = new Headers(page.headers);
  // A validator of the file says nothing of this page.
  headers.delete("ETag");
  if (card !== "home") headers.set("Cache-Control", typeof card === "string" ? "no-store" : "public, max-age=60");
  const send = (status: number, rewriter: HTMLRewriter) => {
    // Without an index there is no search.
    if (!env.INDEX) rewriter.on("#search", { element: (element) => void element.setAttribute("hidden", "") });
    return rewriter.transform(new Response(page.body, { status, headers }));
  };
  const name = inner(nameOf(env));
  if (card === "home") return send(200, home(env).on("#title", name));
  if (card === "locked") return send(401, new HTMLRewriter().on("title, #title", name));
  if (card === "gone") return send(404, gone().on("#title", name));
  const rewriter = opened(card, siteOf(request, env)).on("title", inner(`${card.title} · ${nameOf(env)}`));
  if (card.tag === null) return send(200, rewriter.on("#title", name));
  // As the page's script has it: nothing moves when that has loaded.
  rewriter.on("#all", { element: (element) => void element.removeAttribute("hidden") });
  return send(200, rewriter.on("#title", inner(card.tag)));
}

/** Replaces what is in an element by a text. */
function inner(text: string): HTMLRewriterElementContentHandlers {
  return { element: (element) => void element.setInnerContent(text) };
}

function home(env: Env): HTMLRewriter {
  const rewriter = new HTMLRewriter().on("title", inner(nameOf(env)));
  if (!env.DESCRIPTION) return rewriter;
  const meta = `  <meta name="description" content="${escapeHtml(env.DESCRIPTION)}">\n`;
  return rewriter.on("head", { element: (head) => void head.append(meta, { html: true }) });
}

function opened({ title, description, url, preview, key }: Card, site: string): HTMLRewriter {
  const width = Math.min(previewWidth, preview.width);
  const properties: [name: "property" | "name", key: string, content: string][] = [
    ["name", "description", description],
    ["property", "og:type", "article"],
    ["property", "og:title", title],
    ["property", "og:description", description],
    ["property", "og:url", url],
    [
      "property",
      "og:image",
      `${site}/images/${preview.id}?w=${previewWidth}&f=jpeg${key === null ? "" : `&key=${key}`}`,
    ],
    ["property", "og:image:type", "image/jpeg"],
    ["property", "og:image:width", String(width)],
    ["property", "og:image:height", String(Math.round((preview.height * width) / preview.width))],
    ["property", "og:image:alt", preview.alt || title],
    ["name", "twitter:card", "summary_large_image"],
  ];
  return new HTMLRewriter().on("head", {
    element(head) {
      for (const [name, key, content] of properties) {
        head.append(`  <meta ${name}="${key}" content="${escapeHtml(content)}">\n`, { html: true });
      }
      head.append(`  <link rel="canonical" href="${escapeHtml(url)}">\n`, { html: true });
    },
  });
}

/** Without the gallery: whoever followed a link looks for one image. */
function gone(): HTMLRewriter {
  return new HTMLRewriter()
    .on("title", inner("Not here any more"))
    .on("script", { element: (element) => void element.remove() })
    .on("header.top .actions, #search, #grid, #more, noscript", { element: (element) => void element.remove() })
    .on("#gone", { element: (element) => void element.removeAttribute("hidden") });
}
