// The site of the documentation: the Markdown files of the repository, as they are.
// docs/README.md is the index, and its sections are the sidebar.
import { existsSync, readFileSync, statSync } from "node:fs";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { type DefaultTheme, defineConfig } from "vitepress";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const repository = "https://github.com/optimizerd/optimizerd";

/** Whether a file of the repository is a page of the site. */
const isPage = (path: string) => path.endsWith(".md") && !/^(bench|docs\/site|pkg|scripts)\//.test(path);

/** The anchor of a heading, as GitHub makes it; links_test.go has the same. */
const slugify = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(" ", "-")
    .replaceAll(/[^\p{L}\p{N}_-]/gu, "");

/** Where a link of a page leads: to another page, or to a file in the repository. */
function target(link: string, page: string): string {
  if (/^[a-z]+:|^#/i.test(link)) return link;
  const [path = "", anchor] = link.split("#");
  const file = posix.join(posix.dirname(page), decodeURI(path));
  if (!existsSync(join(root, file))) throw new Error(`${page}: ${link} leads nowhere`);
  const hash = anchor ? `#${anchor}` : "";
  if (isPage(file)) return `/${file.replace(/README\.md$/, "").replace(/\.md$/, ".html")}${hash}`;
  const kind = statSync(join(root, file)).isDirectory() ? "tree" : "blob";
  return `${repository}/${kind}/main/${file}${hash}`;
}

/** The sections of docs/README.md with the links of their lists. */
function sidebar(): DefaultTheme.SidebarItem[] {
  const sections: DefaultTheme.SidebarItem[] = [];
  for (const line of readFileSync(join(root, "docs/README.md"), "utf8").split("\n")) {
    const [, heading] = line.match(/^## (.+)/) ?? [];
    const [, text, link] = line.match(/^- \[(.+?)\]\(([^)]+)\)/) ?? [];
    if (heading) sections.push({ text: heading, items: [] });
    if (text && link) sections.at(-1)?.items?.push({ text, link: target(link, "docs/README.md") });
  }
  return sections;
}

export default defineConfig({
  title: "optimizerd",
  description: "A self-hosted image optimizer for a small machine at home",
  lang: "en-US",
  base: process.env.SITE_BASE ?? "/",
  srcDir: root,
  srcExclude: ["bench/**", "docs/site/**", "pkg/**", "scripts/**", "worker/node_modules/**"],
  outDir: "dist",
  cacheDir: ".cache",
  rewrites: {
    "README.md": "index.md",
    ":folder/README.md": ":folder/index.md",
    "docs/decisions/README.md": "docs/decisions/index.md",
  },
  head: [["link", { rel: "icon", type: "image/svg+xml", href: `${process.env.SITE_BASE ?? "/"}icon.svg` }]],
  vite: {
    publicDir: fileURLToPath(new URL("public", import.meta.url)),
    plugins: [
      {
        // The pages are outside this folder, and so without its node_modules.
        name: "vue-of-this-folder",
        enforce: "pre",
        resolveId(id, importer, options) {
          if (!/^vue(\/|$)/.test(id) || !importer?.endsWith(".md")) return null;
          return this.resolve(id, fileURLToPath(import.meta.url), { ...options, skipSelf: true });
        },
      },
    ],
  },
  markdown: {
    anchor: { slugify },
    toc: { slugify },
    config(md) {
      md.core.ruler.push("targets", (state) => {
        const page = state.env.relativePath?.replace(/(^|\/)index\.md$/, "$1README.md") ?? "";
        for (const token of state.tokens.flatMap((block) => block.children ?? [])) {
          const href = token.type === "link_open" && token.attrGet("href");
          if (href) token.attrSet("href", target(href, page));
        }
      });
    },
  },
  themeConfig: {
    logo: "/icon.svg",
    nav: [
      { text: "Guide", link: "/docs/guide" },
      { text: "Documentation", link: "/docs/" },
      { text: "Troubleshooting", link: "/docs/faq" },
      { text: "Changes", link: "/CHANGELOG" },
    ],
    sidebar: sidebar(),
    outline: [2, 3],
    search: { provider: "local" },
    socialLinks: [{ icon: "github", link: repository }],
  },
});
