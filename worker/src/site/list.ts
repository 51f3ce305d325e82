// The images below the header: those of the gallery, of an album, or of a search, page by
// page, as far as the visitor scrolls.

import { type Image, Refusal, listImages } from "./api";
import type { Gallery } from "./gallery";
import { announce, find } from "./page";
import * as recent from "./recent";
import { matches, wordsIn } from "../text";
import { countOf, foundNothing, locked } from "./words";

export class List {
  readonly #grid = find("grid");
  readonly #more = find<HTMLButtonElement>("more");
  #q = "";
  #cursor: string | null = null;
  #loading: Promise<void> | null = null;

  /** tag: of the album; null for all images. focusOn moves the focus when its element is gone. */
  constructor(
    private readonly gallery: Gallery,
    private readonly tag: string | null,
    private readonly focusOn: (image: Image | undefined) => void,
  ) {
    this.#more.addEventListener("click", () => void this.load());
    find("broken-retry").addEventListener("click", () => void this.load());
    const nearing = new IntersectionObserver(
      (entries) => {
        // A busy browser reports several changes at once; the last is what holds.
        if (entries.at(-1)?.isIntersecting && !this.#more.hidden) void this.load();
      },
      { rootMargin: "800px" },
    );
    nearing.observe(this.#more);
  }

  /** Shows what is found, or all images if nothing is searched for. What is still on its way is ignored. */
  search(q: string): Promise<void> {
    this.#q = q;
    this.#cursor = null;
    this.#loading = null;
    return this.load();
  }

  /** Whether an image is one of those that are listed here. */
  has(image: Image): boolean {
    const words = wordsIn(this.#q);
    // Without letters and digits nothing is found.
    if (this.#q !== "" && words.length === 0) return false;
    return (this.tag === null || image.tags.includes(this.tag)) && matches(image, words);
  }

  /** Loads the next page. Concurrent calls share one request. */
  load(): Promise<void> {
    if (this.#loading) return this.#loading;
    const loading: Promise<void> = this.#loadPage(() => loading !== this.#loading).finally(() => {
      if (loading === this.#loading) this.#loading = null;
    });
    this.#loading = loading;
    return loading;
  }

  /** Shows what a list lacks that visitors share for some minutes: the owner sees everything. */
  async catchUp(): Promise<void> {
    const q = this.#q;
    const { images } = await listImages(null, this.tag, q);
    if (q !== this.#q) return;
    const known = new Set(this.gallery.images.map(({ id }) => id));
    const missing = recent.corrected(images, (image) => this.has(image)).filter(({ id }) => !known.has(id));
    for (const image of missing) this.gallery.insert(image);
    this.showEmptiness();
  }

  showEmptiness(): void {
    const isEmpty = this.gallery.images.length === 0;
    find("empty").hidden = !isEmpty || this.#q !== "";
    find("none").hidden = !isEmpty || this.#q === "";
    find("none-text").textContent = foundNothing(this.#q, this.tag);
    find("select-open").hidden = isEmpty;
    find("remake").hidden = isEmpty && this.#q === "";
  }

  async #loadPage(isOutdated: () => boolean): Promise<void> {
    const [q, isFirst] = [this.#q, this.#cursor === null];
    const hadFocus = document.activeElement === this.#more;
    // Elements below the grid are hidden while it grows, so that nothing jumps.
    this.#more.hidden = true;
    find("broken").hidden = true;
    this.#grid.ariaBusy = "true";
    try {
      const { images, cursor } = await listImages(this.#cursor, this.tag, q);
      if (isOutdated()) return;
      const before = isFirst ? 0 : this.gallery.images.length;
      this.#cursor = cursor;
      const corrected = recent.corrected(images, (image) => isFirst && this.has(image));
      if (isFirst) this.gallery.show(corrected, cursor !== null);
      else this.gallery.append(corrected, cursor !== null);
      this.#more.hidden = cursor === null;
      find("below").hidden = cursor !== null;
      this.showEmptiness();
      if (hadFocus) this.focusOn(this.gallery.images[before]);
      this.#announce(isFirst, corrected.length);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (isOutdated()) return;
      this.#showRefusal(error, isFirst);
      if (hadFocus) find("broken-retry").focus();
    }
    this.#grid.ariaBusy = "false";
  }

  #showRefusal(error: Refusal, isFirst: boolean): void {
    // What another search has found would look like what this one has.
    if (isFirst) this.gallery.show([], false);
    find("empty").hidden = find("none").hidden = true;
    find("broken-text").textContent = error.status === 401 ? locked : error.message;
    find("broken").hidden = false;
  }

  #announce(isFirst: boolean, added: number): void {
    if (!isFirst) announce(`${added} more images.`);
    else if (this.#q !== "" && added === 0) announce(foundNothing(this.#q, this.tag));
    else if (this.#q !== "") announce(`${this.#cursor === null ? "" : "More than "}${countOf(added)} found.`);
  }
}
