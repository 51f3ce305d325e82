// Builds what site/ serves and does not contain: the page's style sheet and script, its service worker,
// the client for pages of other origins, and the OpenAPI document.
import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";
import { parse } from "yaml";

const path = (name) => new URL(`../${name}`, import.meta.url).pathname;
const options = {
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  logLevel: "warning",
};
await build({ ...options, entryPoints: [path("src/site/style/index.css")], outfile: path("site/style.css") });
await build({ ...options, entryPoints: [path("src/site/app.ts")], outfile: path("site/app.js") });
await build({ ...options, entryPoints: [path("src/site/sw.ts")], outfile: path("site/sw.js") });
await build({ ...options, entryPoints: [path("client/src/site.ts")], outfile: path("site/client.js") });
const document = parse(await readFile(path("openapi.yaml"), "utf8"), { merge: true });
await writeFile(path("site/openapi.json"), JSON.stringify(document));
