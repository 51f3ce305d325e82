// Checks every link of the built site that stays on it: its page, file and anchor.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const site = join(dirname(fileURLToPath(import.meta.url)), "dist");
const base = process.env.SITE_BASE ?? "/";
const names = readdirSync(site, { recursive: true }).filter((name) => name.endsWith(".html"));
const pages = new Map(names.map((name) => [name, readFileSync(join(site, name), "utf8")]));
const idsOf = (html) => new Set(Array.from(html.matchAll(/ id="([^"]+)"/g), ([, id]) => id));
const ids = new Map(Array.from(pages, ([name, html]) => [name, idsOf(html)]));

let links = 0;
const broken = [];
for (const [page, html] of pages) {
  for (const [, attribute] of html.matchAll(/ (?:href|src)="([^"]*)"/g)) {
    const link = decodeURI(attribute.replaceAll("&amp;", "&"));
    if (/^([a-z]+:|\/\/)/i.test(link)) continue;
    links++;
    const [path, anchor] = link.split("#");
    const absolute = path.startsWith(base) ? path.slice(base.length) : posix.join(posix.dirname(page), path);
    let file = path === "" ? page : absolute;
    if (file === "" || file.endsWith("/")) file += "index.html";
    const found = [file, `${file}.html`].find((name) => existsSync(join(site, name)));
    if (!found || (anchor && !ids.get(found)?.has(anchor))) broken.push(`${page}: ${link}`);
  }
}
console.log(`${pages.size} pages, ${links} links`);
if (broken.length > 0 || pages.size < 40) {
  console.error(["broken links:", ...broken].join("\n  "));
  process.exit(1);
}
