// Makes src/generated/ from the daemon's OpenAPI document: the types, and the
// functions that check JSON at run time. They are code, since a Worker has no
// eval and little processor time.
import { readFile, writeFile } from "node:fs/promises";
import Ajv2020 from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import openapiTS, { astToString } from "openapi-typescript";
import { parse } from "yaml";

const source = new URL("../../pkg/httpapi/openapi.yaml", import.meta.url);
const out = new URL("../src/generated/", import.meta.url);
const banner = "// Made by `npm run generate` from pkg/httpapi/openapi.yaml. Do not edit.\n";

const document = parse(await readFile(source, "utf8"));

// What is said to people, and maxLength (of a file name), for which counting
// would need a module at run time. So only what matters changes these files.
const dropped = new Set(["description", "examples", "maxLength"]);
const bare = (node) => {
  if (node === null || typeof node !== "object") return node;
  if (Array.isArray(node)) return node.map(bare);
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key]) => !dropped.has(key))
      .map(([key, value]) => [key, bare(value)]),
  );
};
const schemas = bare(document.components.schemas);
// A newer daemon may know of more that can go wrong.
delete schemas.JobError.properties.code.enum;

const types = await openapiTS({ openapi: document.openapi, info: document.info, paths: {}, components: { schemas } });
await writeFile(new URL("openapi.d.ts", out), banner + astToString(types));

// What the Worker reads from the daemon.
const checked = ["Event", "Job", "Manifest"];

// A schema as ajv takes it: names in place of paths. Fields that the Worker
// does not know are let through, so that a newer daemon may add some.
const adapt = (node) => {
  if (node === null || typeof node !== "object") return node;
  if (Array.isArray(node)) return node.map(adapt);
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key, value]) => !(key === "additionalProperties" && value === false))
      .map(([key, value]) => [key, key === "$ref" ? value.replace("#/components/schemas/", "") : adapt(value)]),
  );
};

const ajv = new Ajv2020({
  code: { source: true, esm: true, lines: true },
  // Nobody reads why: a broken answer of the daemon is a broken answer.
  messages: false,
  // Of formats there is only "uri", and no URL of the daemon is ever followed.
  validateFormats: false,
  // So that every word of the document that is not understood is an error.
  strict: true,
});
for (const [name, schema] of Object.entries(schemas)) {
  ajv.addSchema({ $id: name, ...adapt(schema) });
}
const exported = {};
for (const name of checked) {
  exported[`is${name}`] = name;
}
await writeFile(new URL("validate.js", out), banner + standalone.default(ajv, exported));

const declarations = checked.map(
  (name) => `export function is${name}(data: unknown): data is components["schemas"]["${name}"];`,
);
await writeFile(
  new URL("validate.d.ts", out),
  `${banner}import type { components } from "./openapi";\n\n${declarations.join("\n")}\n`,
);
