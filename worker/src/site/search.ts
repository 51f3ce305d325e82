// The search field. What is searched for is in the address, so that it can be shared, and
// left with the back button.

import { find } from "./page";

/** How long somebody does not type before the search begins, ms. */
const pause = 250;

export class Search {
  readonly #form = find<HTMLFormElement>("search");
  readonly #field = find<HTMLInputElement>("q");
  #q = "";
  #pause = 0;

  /** home: the address of the page without a search. changed is called with what is searched for, "" for nothing. */
  constructor(
    private readonly home: string,
    private readonly changed: (q: string) => void,
  ) {
    this.#q = this.#addressed ?? "";
    // On a slow connection somebody has typed already.
    if (this.#field.value !== "") this.#askSoon();
    else this.#field.value = this.#q;
    this.#field.addEventListener("input", () => this.#askSoon());
    // Before an image is opened, too, which has another address.
    this.#field.addEventListener("change", () => this.#ask());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
      // The keyboard of a phone would cover what is found.
      if (matchMedia("(pointer: coarse)").matches) this.#field.blur();
    });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault();
      // It is not meant for what else Escape ends.
      event.stopPropagation();
      if (this.#field.value === "") this.#field.blur();
      else this.#clear();
    });
    find("none-clear").addEventListener("click", () => this.#clear());
    addEventListener("keydown", (event) => this.#focusOn(event));
    addEventListener("popstate", () => this.#follow());
  }

  /** What is searched for. */
  get q(): string {
    return this.#q;
  }

  /** What the address says; null if it is that of an image. */
  get #addressed(): string | null {
    if (location.pathname !== this.home || this.#form.hidden) return null;
    return (new URLSearchParams(location.search).get("q") ?? "").trim();
  }

  #clear(): void {
    this.#field.value = "";
    this.#field.focus();
    this.#ask();
  }

  #askSoon(): void {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.#ask(), pause);
  }

  #ask(): void {
    clearTimeout(this.#pause);
    const q = this.#field.value.trim();
    if (q === this.#q) return;
    const address = this.home + (q && `?${new URLSearchParams({ q })}`);
    // One step of the back button for what is typed in one go.
    if (q !== "" && this.#q !== "") history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.#q = q;
    this.changed(q);
  }

  /** After the back button. */
  #follow(): void {
    const q = this.#addressed;
    if (q === null || q === this.#q) return;
    clearTimeout(this.#pause);
    this.#q = this.#field.value = q;
    this.changed(q);
  }

  #focusOn(event: KeyboardEvent): void {
    const { key, ctrlKey, metaKey, altKey, target } = event;
    if (key !== "/" || ctrlKey || metaKey || altKey || this.#form.hidden) return;
    if (target instanceof Element && target.matches("input:not([type=checkbox]), textarea")) return;
    if (document.querySelector("dialog[open], [popover]:popover-open")) return;
    event.preventDefault();
    this.#field.focus();
    this.#field.select();
  }
}
