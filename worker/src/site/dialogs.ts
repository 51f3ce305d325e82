// Dialogs: sign-in, confirmation, and the words of an image.

import { type Image, Refusal, deleteImage, signIn, trashImage, writeWords } from "./api";
import { forEach } from "./bulk";
import { find } from "./page";
import { Frame } from "./picture";
import { countOf } from "./words";

/** Calls `signedIn` after each successful sign-in. The returned function asks for one, and resolves to whether it was done. */
export function signInDialog(signedIn: () => void): (why?: string) => Promise<boolean> {
  const dialog = find<HTMLDialogElement>("sign-in");
  const form = find<HTMLFormElement>("sign-in-form");
  const token = find<HTMLInputElement>("token");
  const error = find("sign-in-error");
  const why = find("sign-in-why");
  const usual = why.textContent;
  let isDone = false;

  const complain = (text: string) => {
    error.textContent = text;
    token.setAttribute("aria-invalid", `${text !== ""}`);
  };
  find("sign-in-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => form.reset());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    complain("");
    busy(form, async () => {
      await signIn(token.value);
      isDone = true;
      dialog.close();
      signedIn();
    }).catch((reason: unknown) => {
      complain(reason instanceof Refusal && reason.status === 401 ? "This token is not valid." : said(reason));
      token.select();
    });
  });
  return (reason) => {
    why.textContent = reason ?? usual;
    complain("");
    if (!dialog.open) {
      isDone = false;
      dialog.showModal();
    }
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(isDone), { once: true });
    });
  };
}

/** Calls `deleted` after a deletion, which is for good or can be taken back. */
export function deleteDialog(deleted: (images: Image[], forGood: boolean) => void): (images: readonly Image[]) => void {
  const dialog = find<HTMLDialogElement>("confirm");
  const error = find("confirm-error");
  const picture = find("confirm-picture");
  let doomed: readonly Image[] = [];

  const show = () => {
    const [first] = doomed;
    const isOne = doomed.length === 1;
    find("confirm-title").textContent = `Delete ${isOne ? "this image" : countOf(doomed.length)}?`;
    find("confirm-text").textContent = `${isOne ? "It" : "They"} can be restored for a day.`;
    picture.replaceChildren();
    if (!first || !isOne) return;
    const frame = new Frame(first);
    picture.append(frame.element);
    frame.load("12rem", true);
  };
  const remove = (forGood: boolean) => {
    error.textContent = "";
    busy(dialog, async () => {
      const { done, failure } = await forEach(doomed, forGood ? deleteImage : trashImage);
      if (failure === null) dialog.close();
      if (done.length > 0) deleted(done, forGood);
      if (failure === null) return;
      doomed = doomed.filter((image) => !done.includes(image));
      show();
      throw failure;
    }).catch((reason: unknown) => {
      error.textContent = said(reason);
    });
  };
  find("confirm-keep").addEventListener("click", () => dialog.close());
  find("confirm-delete").addEventListener("click", () => remove(false));
  find("confirm-delete-for-good").addEventListener("click", () => remove(true));
  dialog.addEventListener("close", () => picture.replaceChildren());
  return (images) => {
    doomed = images;
    error.textContent = "";
    show();
    dialog.showModal();
  };
}

/** Calls `written` after a change. */
export function wordsDialog(written: (image: Image) => void): (image: Image) => void {
  const dialog = find<HTMLDialogElement>("words");
  const form = find<HTMLFormElement>("words-form");
  const error = find("words-error");
  const [title, alt, caption, tags] = ["title", "alt", "caption", "tags"].map((name) =>
    find<HTMLInputElement | HTMLTextAreaElement>(`words-${name}`),
  ) as [HTMLInputElement, HTMLTextAreaElement, HTMLTextAreaElement, HTMLInputElement];
  let described: Image | null = null;

  find("words-cancel").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const image = described;
    if (!image) return;
    error.textContent = "";
    const list = tags.value.split(",").map((tag) => tag.trim());
    const words = {
      title: title.value,
      alt: alt.value,
      caption: caption.value,
      tags: list.filter((tag) => tag !== ""),
    };
    busy(form, async () => {
      const changed = await writeWords(image.id, words);
      dialog.close();
      written(changed);
    }).catch((reason: unknown) => {
      error.textContent = said(reason);
    });
  });
  return (image) => {
    described = image;
    error.textContent = "";
    title.value = image.title;
    alt.value = image.alt;
    caption.value = image.caption;
    tags.value = image.tags.join(", ");
    dialog.showModal();
  };
}

/** Disables all buttons while work is running. */
export async function busy(within: HTMLElement, work: () => Promise<void>): Promise<void> {
  const buttons = within.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    await work();
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

/** The message of a failed request. */
export function said(reason: unknown): string {
  if (reason instanceof Refusal) return reason.message;
  throw reason;
}
