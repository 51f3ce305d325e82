// The Worker's OpenAPI document for tests in workerd, which cannot compile schemas:
// the module "virtual:contract" has the document, and a compiled check for each schema.

import { readFile } from "node:fs/promises";
import { Ajv2020 } from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import { parse } from "yaml";

const source = new URL("../../openapi.yaml", import.meta.url);
const name = "virtual:contract";

interface Document {
  components: { schemas: Record<string, object> };
}

export function contract() {
  return {
    name: "contract",
    resolveId: (id: string) => (id === name ? `\0${name}` : null),
    async load(id: string): Promise<string | null> {
      if (id !== `\0${name}`) return null;
      const document = parse(await readFile(source, "utf8"), { merge: true }) as Document;
      const ajv = new Ajv2020({ code: { source: true, esm: true }, allErrors: true });
      // Schemas refer to each other by their paths in the document.
      ajv.addVocabulary(["components"]);
      ajv.addSchema({ $id: "document", components: document.components } as object);
      const names = Object.keys(document.components.schemas);
      const exported = Object.fromEntries(names.map((one) => [one, `document#/components/schemas/${one}`]));
      for (const ref of Object.values(exported)) ajv.getSchema(ref);
      const code = (standalone as unknown as { default: (ajv: Ajv2020, refs: object) => string }).default(
        ajv,
        exported,
      );
      return `${code}\nexport const document = ${JSON.stringify(document)};`;
    },
  };
}
