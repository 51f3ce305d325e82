// The offer to take the last deletion back, which stays until it is dismissed.

import { type Image, restoreImage } from "./api";
import { busy, said } from "./dialogs";
import { forEach } from "./bulk";
import { find } from "./page";
import { countOf } from "./words";

export class UndoBar {
  readonly #bar = find("undo");
  readonly #text = find("undo-text");
  #deleted: Image[] = [];

  /** restored is called with what is in the gallery again. */
  constructor(private readonly restored: (images: Image[]) => void) {
    find("undo-restore").addEventListener("click", () => void busy(this.#bar, () => this.#restore()));
    find("undo-dismiss").addEventListener("click", () => this.dismiss());
  }

  /** within: the open dialog, since all outside of it is inert. */
  offer(images: readonly Image[], within: HTMLElement): void {
    this.#deleted = [...images];
    this.#text.textContent = `${countOf(images.length)} deleted.`;
    this.moveTo(within);
    this.#bar.hidden = false;
  }

  moveTo(within: HTMLElement): void {
    within.append(this.#bar);
  }

  dismiss(): void {
    this.#bar.hidden = true;
  }

  async #restore(): Promise<void> {
    const restored: Image[] = [];
    const { failure } = await forEach(this.#deleted, async (id) => {
      restored.push(await restoreImage(id));
    });
    const known = new Set(restored.map(({ id }) => id));
    this.#deleted = this.#deleted.filter(({ id }) => !known.has(id));
    if (failure === null) this.dismiss();
    else this.#text.textContent = said(failure);
    if (restored.length > 0) this.restored(restored);
  }
}
