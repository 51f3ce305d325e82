// GET /feed.json and /feed.xml: the newest images, for feed readers and for sites
// that are built from a feed.

import type { PublicImage } from "./api";
import { escapeHtml, titleOf } from "./embed";
import type { Env } from "./env";
import { newest } from "./gallery";
import { nameOf, sharedText, siteOf } from "./http";

const items = 30;
/** What XML cannot have, not even escaped: for one such character readers refuse the whole feed. */
const notXML = /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu;
const newestImages = "The newest images";

/** JSON Feed 1.1 */
export async function getJSONFeed(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  const site = siteOf(request, env);
  const images = await newest(request, env, ctx, items);
  const feed = {
    version: "https://jsonfeed.org/version/1.1",
    title: nameOf(env),
    description: env.DESCRIPTION || newestImages,
    home_page_url: `${site}/`,
    feed_url: `${site}/feed.json`,
    items: images.map((image) => ({
      id: image.url,
      url: image.url,
      title: titleOf(image) || "Image",
      content_html: image.html,
      image: image.src,
      tags: image.tags,
      date_published: image.created_at,
    })),
  };
  return sharedText(request, JSON.stringify(feed), "application/feed+json");
}

/** RSS 2.0 */
export async function getRSS(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  const site = escapeHtml(siteOf(request, env));
  const images = await newest(request, env, ctx, items);
  const text = (name: string, value: string) => `<${name}>${escapeHtml(value.replace(notXML, ""))}</${name}>`;
  const item = (image: PublicImage) =>
    [
      "<item>",
      text("title", titleOf(image) || "Image"),
      text("link", image.url),
      text("guid", image.url),
      text("pubDate", new Date(image.created_at).toUTCString()),
      text("description", image.html),
      "</item>",
    ].join("");
  const feed = [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>',
    `${text("title", nameOf(env))}<link>${site}/</link>${text("description", env.DESCRIPTION || newestImages)}`,
    `<atom:link href="${site}/feed.xml" rel="self" type="application/rss+xml"/>`,
    ...images.map(item),
    "</channel></rss>",
  ];
  return sharedText(request, feed.join("\n"), "application/rss+xml");
}
