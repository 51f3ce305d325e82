// Generates src/generated/ from the daemon's OpenAPI document: the types, and
// the functions that validate JSON at run time. They are generated code because
// a Worker has no eval and little CPU time. And the types of the client, from the
// Worker's own document.
import { readFile, writeFile } from "node:fs/promises";
import Ajv2020 from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import openapiTS, { astToString } from "openapi-typescript";
import { parse } from "yaml";

const source = new URL("../../pkg/httpapi/openapi.yaml", import.meta.url);
const out = new URL("../src/generated/", import.meta.url);
const banner = "// Made by `npm run generate` from pkg/httpapi/openapi.yaml. Do not edit.\n";

const document = parse(await readFile(source, "utf8"));

// Documentation, and maxLength (of a file name), whose check would need a
// module at run time. Without them only relevant changes affect these files.
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
// A newer daemon may have more error codes.
delete schemas.JobError.properties.code.enum;

const types = await openapiTS({ openapi: document.openapi, info: document.info, paths: {}, components: { schemas } });
await writeFile(new URL("openapi.d.ts", out), banner + astToString(types));

// The schemas that the Worker receives from the daemon.
const checked = ["Event", "Job", "Manifest"];

// Converts a schema for ajv: names in place of paths. Unknown fields are
// accepted, so that a newer daemon may add some.
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
  // The reason is not used: an invalid response is an invalid response.
  messages: false,
  // The only format is "uri", and the Worker never follows a URL of the daemon.
  validateFormats: false,
  // Unknown keywords in the document are errors.
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

const own = parse(await readFile(new URL("../openapi.yaml", import.meta.url), "utf8"), { merge: true });
const { openapi, info, components } = own;
const clientTypes = await openapiTS({ openapi, info, paths: {}, components: { schemas: components.schemas } });
await writeFile(
  new URL("../client/src/api.ts", import.meta.url),
  `// Made by \`npm run generate\` from openapi.yaml. Do not edit.\n${astToString(clientTypes)}`,
);
