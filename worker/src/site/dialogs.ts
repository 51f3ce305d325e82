// Dialogs: sign-in and confirmation.

import { type Image, Refusal, deleteImage, signIn } from "./api";
import { find } from "./page";
import { Frame } from "./picture";

/** Calls `signedIn` after each successful sign-in. */
export function signInDialog(signedIn: () => void): (why?: string) => void {
  const dialog = find<HTMLDialogElement>("sign-in");
  const form = find<HTMLFormElement>("sign-in-form");
  const token = find<HTMLInputElement>("token");
  const error = find("sign-in-error");
  const why = find("sign-in-why");
  const usual = why.textContent;

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
    if (!dialog.open) dialog.showModal();
  };
}

/** Calls `deleted` after a deletion, and `signedOut` if the session has expired. */
export function deleteDialog(deleted: (image: Image) => void, signedOut: () => void): (image: Image) => void {
  const dialog = find<HTMLDialogElement>("confirm");
  const error = find("confirm-error");
  const picture = find("confirm-picture");
  let doomed: Image | null = null;

  find("confirm-keep").addEventListener("click", () => dialog.close());
  find("confirm-delete").addEventListener("click", () => {
    const image = doomed;
    if (!image) return;
    error.textContent = "";
    busy(dialog, async () => {
      try {
        await deleteImage(image.id);
      } catch (reason) {
        // Already deleted elsewhere.
        if (!(reason instanceof Refusal && reason.status === 404)) throw reason;
      }
      dialog.close();
      deleted(image);
    }).catch((reason: unknown) => {
      error.textContent = said(reason);
      if (reason instanceof Refusal && reason.status === 401) {
        dialog.close();
        signedOut();
      }
    });
  });
  dialog.addEventListener("close", () => picture.replaceChildren());
  return (image) => {
    doomed = image;
    error.textContent = "";
    const frame = new Frame(image);
    picture.replaceChildren(frame.element);
    frame.load("12rem", true);
    dialog.showModal();
  };
}

/** Disables all buttons while work is running. */
async function busy(within: HTMLElement, work: () => Promise<void>): Promise<void> {
  const buttons = within.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    await work();
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

function said(reason: unknown): string {
  if (reason instanceof Refusal) return reason.message;
  throw reason;
}
