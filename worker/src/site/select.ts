// Select mode: the owner chooses images, to delete them together.

import type { Image } from "./api";
import type { Gallery } from "./gallery";
import { find } from "./page";

export class SelectMode {
  readonly #bar = find("select-bar");
  readonly #delete = find<HTMLButtonElement>("select-delete");

  constructor(
    private readonly gallery: Gallery,
    private readonly remove: (images: Image[]) => void,
  ) {
    this.#delete.addEventListener("click", () => this.remove(this.gallery.picked));
    find("select-cancel").addEventListener("click", () => this.#leave());
    addEventListener("keydown", ({ key, target }) => {
      if (this.#bar.hidden || document.querySelector("dialog[open], [popover]:popover-open")) return;
      // Long lists are long ways to the buttons.
      if (key === "Escape") this.#leave();
      if (key === "Delete" && target !== find("q")) this.#delete.click();
    });
  }

  start(): void {
    this.#bar.hidden = false;
    this.gallery.startPicking(() => this.#show());
    this.#show();
  }

  end(): void {
    this.#bar.hidden = true;
    this.gallery.endPicking();
  }

  #leave(): void {
    this.end();
    find("menu-open").focus();
  }

  #show(): void {
    const { length } = this.gallery.picked;
    find("select-count").textContent = `${length} selected`;
    this.#delete.disabled = length === 0;
  }
}
