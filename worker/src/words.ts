// PATCH /api/images/{id}: title, alternative text, caption and tags.

import type { Words } from "./api";
import { requireOwner } from "./auth";
import type { Env } from "./env";
import { idPattern } from "./files";
import { Problem, json, parseJSON, readText } from "./http";
import { imageOf } from "./image";
import { show } from "./pull";
import { type ImageState, changeImage, resolveImage } from "./state";

const maxBody = 32 << 10;
const longest = { title: 200, alt: 500, caption: 2000 } as const;
const maxTags = 20;
export const tagPattern = /^[\p{L}\p{N}][\p{L}\p{M}\p{N} _-]{0,39}$/u;

export async function patchImage(request: Request, env: Env, id: string): Promise<Response> {
  await requireOwner(request, env);
  const change = parseWords(parseJSON((await readText(request, maxBody)) ?? ""));
  const own = idPattern.test(id) ? (await resolveImage(env, id)).id : null;
  const state = own
    ? await changeImage(env, own, (before): ImageState | null => {
        if (before?.status !== "done") return before;
        return { ...before, words: { ...before.words, ...change } };
      })
    : null;
  if (!own || state?.status !== "done") throw new Problem(404, "not_found", "There is no such image.");
  return json(imageOf(await show(env, own, state)));
}

function parseWords(body: unknown): Partial<Words> {
  const bad = (detail: string) => new Problem(400, "invalid_request", detail);
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw bad("The body must be a JSON object.");
  const words: Partial<Words> = {};
  for (const [name, value] of Object.entries(body)) {
    if (name === "title" || name === "alt" || name === "caption") {
      if (typeof value !== "string" || [...value].length > longest[name]) {
        throw bad(`${name} must be a text of at most ${longest[name]} characters.`);
      }
      words[name] = clean(value, name === "caption");
    } else if (name === "tags") {
      words.tags = parseTags(value) ?? badTags();
    } else {
      throw bad(`There is no field ${name}.`);
    }
  }
  return words;

  function badTags(): never {
    throw bad(`tags must be at most ${maxTags} texts of letters, digits, spaces, - and _, up to 40 characters each.`);
  }
}

/** Without what is no text, and in one line unless it may have several. */
function clean(text: string, hasLines: boolean): string {
  const lines = text.replace(/\r\n?|[\u2028\u2029]/g, "\n").replace(/(?![\n\t])[\p{Cc}\p{Cs}]/gu, "");
  return (hasLines ? lines : lines.replace(/ *[\n\t][\n\t ]*/g, " ")).trim();
}

function parseTags(value: unknown): string[] | null {
  if (!Array.isArray(value) || value.length > maxTags) return null;
  const tags = value.map((tag: unknown) => (typeof tag === "string" ? tag.normalize("NFC").trim().toLowerCase() : ""));
  return tags.every((tag) => tagPattern.test(tag)) ? [...new Set(tags)] : null;
}
