// The list of uploads in the corner, one row per file.

import { announce, find, icon, make } from "./page";
import type { Queue, Upload } from "./upload";
import { late, offered, size } from "./words";

interface Row {
  element: HTMLLIElement;
  bar: HTMLProgressElement;
  text: HTMLElement;
  button: HTMLButtonElement;
  preview: HTMLElement;
}

const ended = new Set(["done", "late", "failed", "cancelled", "offered"]);

export class Tray {
  readonly #tray = find("tray");
  readonly #list = find("tray-rows");
  readonly #title = find("tray-title");
  readonly #fold = find<HTMLButtonElement>("tray-fold");
  readonly #close = find<HTMLButtonElement>("tray-close");
  readonly #retry = find<HTMLButtonElement>("tray-retry");
  readonly #rows = new Map<Upload, Row>();

  constructor(
    private readonly queue: () => Queue,
    private readonly closed: () => void,
  ) {
    this.#fold.addEventListener("click", () => this.#setFolded(!this.#list.hidden));
    this.#close.addEventListener("click", () => this.#clear());
    this.#retry.addEventListener("click", () => this.#retryAll());
  }

  /** Puts an upload on top: what is sent last is first in the gallery, too. */
  add(upload: Upload): void {
    const name = make("span", { className: "name", textContent: upload.name });
    const bar = make("progress", { max: 1 });
    bar.setAttribute("aria-label", `Upload of ${upload.name}`);
    const text = make("span", { className: "step" });
    const button = make("button", { type: "button", className: "quiet small" });
    button.addEventListener("click", () => {
      if (ended.has(upload.state.step)) this.queue().retry(upload);
      else this.queue().cancel(upload);
    });
    const preview = make("div", { className: "preview" }, icon("picture"));
    const element = make("li", { tabIndex: -1 }, preview, make("div", { className: "about" }, name, text, bar), button);
    this.#rows.set(upload, { element, bar, text, button, preview });
    this.#list.prepend(element);
    this.#tray.hidden = false;
    this.#setFolded(false);
    this.update(upload);
  }

  update(upload: Upload): void {
    const row = this.#rows.get(upload);
    if (!row) return;
    const { state } = upload;
    const before = row.element.dataset["step"];
    row.element.dataset["step"] = state.step;
    row.text.textContent = textOf(upload);

    const fraction = fractionOf(upload);
    row.bar.hidden = ended.has(state.step) || state.step === "waiting" || state.step === "saved";
    if (fraction === null) row.bar.removeAttribute("value");
    else row.bar.value = fraction;

    const label = { waiting: "Cancel", sending: "Cancel", failed: "Try again", offered: "Add" }[state.step as string];
    const shown = label !== undefined && !(state.step === "failed" && !state.again);
    // Keep the focus in the row when its button disappears.
    if (!shown && document.activeElement === row.button) row.element.focus();
    row.button.hidden = !shown;
    row.button.textContent = label ?? "";
    row.button.setAttribute("aria-label", `${label ?? ""}: ${upload.name}`);

    if (before !== state.step) this.#stepped(upload, row);
  }

  #stepped(upload: Upload, { element, preview }: Row): void {
    const { step } = upload.state;
    const { name } = upload;
    if (step === "sending") {
      element.scrollIntoView({ block: "nearest" });
      if (upload.file && !preview.querySelector("img")) showPreview(preview, upload.file);
    }
    if (step === "sending") announce(`Sending ${name}.`);
    if (step === "saved") announce(`${name} is saved.`);
    if (step === "working") announce(`${name} is being optimized.`);
    if (step === "done") announce(`${name} is in the gallery.`);
    if (step === "late" || step === "failed" || step === "offered") announce(`${name}: ${textOf(upload)}`);

    const uploads = [...this.#rows.keys()];
    const open = uploads.filter(({ state }) => !ended.has(state.step)).length;
    const failed = uploads.filter(({ state }) => state.step === "failed").length;
    const done = uploads.filter(({ state }) => state.step === "done").length;
    if (open > 0) this.#title.textContent = `Adding ${uploads.length - open + 1} of ${uploads.length}`;
    else
      this.#title.textContent =
        [done && `${done} added`, failed && `${failed} failed`].filter(Boolean).join(", ") || "Uploads";
    // What is saved arrives without this page.
    this.#close.hidden = uploads.some(({ state }) => !ended.has(state.step) && state.step !== "saved");
    this.#retry.hidden = this.#failed().length < 2;
  }

  #failed(): Upload[] {
    return [...this.#rows.keys()].filter(({ state }) => state.step === "failed" && state.again);
  }

  #retryAll(): void {
    for (const upload of this.#failed()) this.queue().retry(upload);
    // The button is gone.
    this.#fold.focus();
  }

  #setFolded(folded: boolean): void {
    this.#list.hidden = folded;
    this.#fold.setAttribute("aria-expanded", `${!folded}`);
  }

  #clear(): void {
    for (const [upload, { element }] of this.#rows) {
      element.remove();
      if (upload.state.step === "offered") this.queue().cancel(upload);
    }
    this.#rows.clear();
    this.#tray.hidden = true;
    this.closed();
  }
}

function textOf({ size: bytes, state }: Upload): string {
  switch (state.step) {
    case "waiting":
      return state.reason ?? `Waiting, ${size(bytes)}`;
    case "sending":
      return state.sent < bytes ? `Sending, ${size(state.sent)} of ${size(bytes)}` : "Sent";
    case "saved":
      return state.reason ?? "Saved";
    case "working":
      return "Optimizing…";
    case "storing":
      return `Storing ${state.stored} of ${state.total}`;
    case "done":
      return state.duplicate ? "Already here" : "Added";
    case "late":
      return late;
    case "failed":
      return state.reason;
    case "offered":
      return offered;
    case "cancelled":
      return "Canceled";
  }
}

/** Null: unknown. */
function fractionOf({ size: bytes, state }: Upload): number | null {
  if (state.step === "sending" && state.sent < bytes) return state.sent / bytes;
  if (state.step === "storing" && state.total > 0) return state.stored / state.total;
  return null;
}

/** One at a time, since the browser decodes a complete photo for each. */
function showPreview(preview: HTMLElement, file: File): void {
  const url = URL.createObjectURL(file);
  const img = make("img", { src: url, alt: "" });
  const release = () => URL.revokeObjectURL(url);
  img.addEventListener("load", () => {
    preview.replaceChildren(img);
    release();
  });
  img.addEventListener("error", release); // for example HEIC: the icon stays
}
