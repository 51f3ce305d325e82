// The grid of cards.

import type { Image } from "./api";
import { icon, make } from "./page";
import { Frame } from "./picture";
import { layOut } from "./rows";
import { nameOf } from "./words";

interface Card {
  image: Image;
  frame: Frame;
  element: HTMLLIElement;
  link: HTMLAnchorElement;
}

export interface GalleryEvents {
  open(image: Image): void;
  remove(image: Image): void;
}

export class Gallery {
  #cards: Card[] = [];
  #more = false;

  constructor(
    private readonly grid: HTMLElement,
    private readonly on: GalleryEvents,
  ) {
    new ResizeObserver(() => this.#layOut()).observe(grid);
  }

  get images(): readonly Image[] {
    return this.#cards.map(({ image }) => image);
  }

  /** Adds images that are not in the grid yet. `more`: whether further pages follow. */
  append(images: readonly Image[], more: boolean): void {
    this.#more = more;
    const known = new Set(this.#cards.map(({ image }) => image.id));
    const cards = images.filter(({ id }) => !known.has(id) && known.add(id)).map((image) => this.#card(image));
    this.#cards.push(...cards);
    this.grid.append(...cards.map(({ element }) => element));
    this.#layOut();
  }

  /** Puts an image first, or moves it there. */
  prepend(image: Image): void {
    const at = this.#cards.findIndex(({ image: { id } }) => id === image.id);
    const card = this.#cards.splice(at, at < 0 ? 0 : 1)[0] ?? this.#card(image);
    this.#cards.unshift(card);
    this.grid.prepend(card.element);
    this.#layOut();
  }

  remove(id: string): void {
    const at = this.#cards.findIndex(({ image }) => image.id === id);
    this.#cards.splice(at, at < 0 ? 0 : 1)[0]?.element.remove();
    this.#layOut();
  }

  /** Focuses an image's card, if there is one. */
  focus(id: string): boolean {
    const card = this.#cards.find(({ image }) => image.id === id);
    card?.link.focus();
    return card !== undefined;
  }

  #card(image: Image): Card {
    const frame = new Frame(image);
    // A link, so that it can be opened in a new tab.
    const link = make("a", { href: `#${image.id}` }, frame.element);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.on.open(image);
    });
    const remove = make("button", { type: "button", className: "round for-owner", title: "Delete" }, icon("trash"));
    remove.setAttribute("aria-label", `Delete ${nameOf(image)}`);
    remove.addEventListener("click", () => this.on.remove(image));
    return { image, frame, link, element: make("li", { className: "card" }, link, remove) };
  }

  /**
   * While more pages follow, an incomplete last row stays hidden, so that
   * visible cards never move when more are added.
   */
  #layOut(): void {
    // clientWidth is rounded, and a row that is slightly too wide would wrap.
    const { width } = this.grid.getBoundingClientRect();
    if (width === 0) return;
    const gap = parseFloat(getComputedStyle(this.grid).columnGap);
    const { boxes, inFullRows, inFirstRow } = layOut(
      this.#cards.map(({ image }) => image.width / image.height),
      width,
      gap,
    );
    for (const [i, { image, element, frame }] of this.#cards.entries()) {
      const box = boxes[i];
      if (!box) continue;
      element.hidden = this.#more && i >= inFullRows;
      element.style.width = `${box.width}px`;
      element.style.height = `${box.height}px`;
      // A cropped image is drawn wider than its box.
      const drawn = Math.max(box.width, (box.height * image.width) / image.height);
      if (!element.hidden) frame.load(`${Math.ceil(drawn)}px`, i < inFirstRow);
    }
  }
}
