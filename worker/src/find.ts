// One image, from its state: that is right at once, KV and lists are late.

import type { Image } from "./api";
import type { Env } from "./env";
import { idPattern } from "./files";
import { describe, imageOf } from "./image";
import { resolveImage } from "./state";

/** Returns an image that is completely stored. */
export async function findImage(env: Env, id: string): Promise<Image | null> {
  if (!idPattern.test(id)) return null;
  const { id: own, state } = await resolveImage(env, id);
  return state?.status === "done" ? imageOf(describe(state.manifest, state.words, own)) : null;
}
