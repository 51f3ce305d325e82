// The part of the owner's menu that has all images made again, and says how far that is.

import { type Remake, getRemake, startRemake } from "./api";
import { said } from "./dialogs";
import { find } from "./page";

/** Between two looks, ms. */
const pause = 3000;

export class RemakeBar {
  #start = find<HTMLButtonElement>("remake-start");
  #progress = find<HTMLProgressElement>("remake-progress");
  #text = find("remake-text");
  #timer = 0;

  constructor() {
    this.#start.addEventListener("click", () => void this.#begin());
  }

  /** Shows a remake that is going on, until it ends. */
  async look(): Promise<void> {
    const state = await getRemake();
    if (state.running) this.#show(state);
  }

  async #begin(): Promise<void> {
    this.#start.disabled = true;
    try {
      this.#show(await startRemake());
    } catch (error) {
      this.#fail(error);
    }
  }

  #show(state: Remake): void {
    const { running, total, done, unchanged, failed } = state;
    const failures = Object.keys(failed).length;
    const ended = done + unchanged + failures;
    this.#start.disabled = running;
    this.#progress.hidden = !running;
    this.#progress.max = Math.max(total, 1);
    this.#progress.value = ended;
    const without = failures > 0 ? `, failed: ${failures}` : "";
    if (running) this.#text.textContent = `Remaking images: ${ended} of ${total}${without}.`;
    else this.#text.textContent = `Remade: ${done}. Unchanged: ${unchanged}${without}.`;
    clearTimeout(this.#timer);
    if (running) this.#timer = setTimeout(() => void this.#follow(), pause);
  }

  async #follow(): Promise<void> {
    try {
      this.#show(await getRemake());
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#text.textContent = said(error);
    this.#start.disabled = false;
  }
}
