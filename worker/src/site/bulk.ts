// The same request for several images.

import { type Image, Refusal } from "./api";

/** Requests at once. */
const atOnce = 4;

/**
 * Does work for each image, until one fails. Images that are not there any more count as
 * done. failure is why it was not done for the others; null if there are none.
 */
export async function forEach(
  images: readonly Image[],
  work: (id: string) => Promise<unknown>,
): Promise<{ done: Image[]; failure: unknown }> {
  const done = new Set<Image>();
  let failure: unknown = null;
  const rest = images.values();
  const worker = async () => {
    for (const image of rest) {
      if (failure !== null) return;
      try {
        await work(image.id);
        done.add(image);
      } catch (reason) {
        if (reason instanceof Refusal && reason.status === 404) done.add(image);
        else failure = reason;
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return { done: images.filter((image) => done.has(image)), failure };
}
