// The grid of cards.

import { pageUrl } from "../embed";
import type { Image } from "./api";
import { make } from "./page";
import { Frame } from "./picture";
import { layOut } from "./rows";
import { nameOf } from "./words";

interface Card {
  image: Image;
  frame: Frame;
  element: HTMLLIElement;
  link: HTMLAnchorElement;
  /** In select mode. */
  box: HTMLInputElement | null;
}

export class Gallery {
  #cards: Card[] = [];
  #more = false;
  /** In select mode, called after each choice. */
  #picking: (() => void) | null = null;
  #lastPicked: Card | null = null;

  constructor(
    private readonly grid: HTMLElement,
    private readonly open: (image: Image) => void,
  ) {
    new ResizeObserver(() => this.#layOut()).observe(grid);
  }

  get images(): readonly Image[] {
    return this.#cards.map(({ image }) => image);
  }

  /** Shows these images and no others. Those that are in the grid stay as they are. */
  show(images: readonly Image[], more: boolean): void {
    this.#more = more;
    const known = new Map(this.#cards.map((card) => [card.image.id, card]));
    this.#cards = [...new Map(images.map((image) => [image.id, image])).values()].map((image) => {
      const card = known.get(image.id);
      return card && JSON.stringify(card.image) === JSON.stringify(image) ? card : this.#card(image);
    });
    const focused = this.grid.querySelector<HTMLElement>(":focus");
    this.grid.replaceChildren(...this.#cards.map(({ element }) => element));
    // A move takes it away.
    focused?.focus({ preventScroll: true });
    this.#layOut();
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

  /** Shows the changed words of an image. */
  replace(image: Image): void {
    const at = this.#cards.findIndex(({ image: { id } }) => id === image.id);
    if (at < 0) return;
    const card = this.#card(image);
    this.#cards[at]?.element.replaceWith(card.element);
    this.#cards[at] = card;
    this.#layOut();
  }

  remove(ids: ReadonlySet<string>): void {
    for (const { image, element } of this.#cards) if (ids.has(image.id)) element.remove();
    this.#cards = this.#cards.filter(({ image }) => !ids.has(image.id));
    this.#layOut();
  }

  /** Puts an image where it is by its time, unless that is on a later page. */
  insert(image: Image): void {
    if (this.#cards.some(({ image: { id } }) => id === image.id)) return;
    const at = this.#cards.findIndex(({ image: { uploaded_at } }) => uploaded_at < image.uploaded_at);
    if (at < 0 && this.#more) return;
    const card = this.#card(image);
    const next = this.#cards[at];
    this.grid.insertBefore(card.element, next?.element ?? null);
    this.#cards.splice(next ? at : this.#cards.length, 0, card);
    this.#layOut();
  }

  /** Has each image chosen with a checkbox, instead of opened. */
  startPicking(changed: () => void): void {
    this.#picking = changed;
    for (const card of this.#cards) this.#addBox(card);
    this.#cards[0]?.box?.focus();
  }

  endPicking(): void {
    this.#picking = null;
    this.#lastPicked = null;
    for (const card of this.#cards) {
      card.box?.remove();
      card.box = null;
      card.link.inert = false;
    }
  }

  get picked(): Image[] {
    return this.#cards.filter(({ box }) => box?.checked).map(({ image }) => image);
  }

  #addBox(card: Card): void {
    if (card.box) return;
    const box = make("input", { type: "checkbox", className: "pick" });
    box.setAttribute("aria-label", `Select ${nameOf(card.image)}`);
    box.addEventListener("click", ({ shiftKey }) => this.#pick(card, box.checked, shiftKey));
    card.box = box;
    card.link.inert = true;
    card.element.append(box);
  }

  /** range: all from the one chosen last. */
  #pick(card: Card, checked: boolean, range: boolean): void {
    const to = this.#cards.indexOf(card);
    const from = range && this.#lastPicked ? this.#cards.indexOf(this.#lastPicked) : -1;
    const between = from < 0 ? [] : this.#cards.slice(Math.min(from, to), Math.max(from, to) + 1);
    for (const { box } of between) if (box) box.checked = checked;
    this.#lastPicked = card;
    this.#picking?.();
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
    const link = make("a", { href: pageUrl(image) }, frame.element);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.open(image);
    });
    const card: Card = { image, frame, link, element: make("li", { className: "card" }, link), box: null };
    if (this.#picking) this.#addBox(card);
    return card;
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
