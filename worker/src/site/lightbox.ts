// One image in the full window. It has a URL (#id), so that it can be linked
// and closed with the back button.

import type { Image } from "./api";
import { find } from "./page";
import { Frame, pictureHtml } from "./picture";
import { nameOf } from "./words";

export interface LightboxEvents {
  images(): readonly Image[];
  remove(image: Image): void;
  closed(last: Image): void;
}

// Minimum horizontal distance of a swipe, in pixels.
const swipe = 48;

export class Lightbox {
  readonly #dialog = find<HTMLDialogElement>("lightbox");
  readonly #caption = find("caption");
  readonly #place = find("place");
  readonly #stage = find("stage");
  #shown: Image | null = null;

  constructor(private readonly on: LightboxEvents) {
    find("lightbox-close").addEventListener("click", () => this.#dialog.close());
    find("lightbox-back").addEventListener("click", () => this.#step(-1));
    find("lightbox-on").addEventListener("click", () => this.#step(1));
    find("lightbox-delete").addEventListener("click", () => this.#shown && on.remove(this.#shown));
    find("copy-link").addEventListener("click", () => void this.#copy(location.href, "Link copied."));
    find("copy-html").addEventListener("click", () => {
      if (this.#shown) void this.#copy(pictureHtml(this.#shown, location.origin), "HTML copied.");
    });
    this.#stage.addEventListener("click", (event) => {
      if (event.target === this.#stage) this.#dialog.close();
    });
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#step(-1);
      if (event.key === "ArrowRight") this.#step(1);
    });
    this.#dialog.addEventListener("close", () => this.#closed());
    this.#listenToFingers();
    addEventListener("popstate", () => this.showAddressed());
  }

  /** The id in the URL, or "". */
  get addressed(): string {
    return location.hash.slice(1);
  }

  open(image: Image): void {
    // The focus moves to the image seen last, which may be elsewhere.
    history.scrollRestoration = "manual";
    history.pushState({ lightbox: true }, "", `#${image.id}`);
    this.#show(image);
  }

  /** Shows the image in the URL. */
  showAddressed(): void {
    const image = this.on.images().find(({ id }) => id === this.addressed);
    if (image) this.#show(image);
    else this.#dialog.close();
  }

  /** Shows the next image when the current one is deleted. */
  removed(id: string, next: Image | undefined): void {
    if (this.#shown?.id !== id) return;
    if (next) this.#goTo(next);
    else this.#dialog.close();
  }

  #show(image: Image): void {
    this.#shown = image;
    const images = this.on.images();
    const at = images.indexOf(image);
    this.#caption.textContent = nameOf(image);
    this.#place.textContent = `${at + 1} of ${images.length}`;
    find<HTMLButtonElement>("lightbox-back").disabled = at <= 0;
    find<HTMLButtonElement>("lightbox-on").disabled = at === images.length - 1;

    const frame = new Frame(image);
    const ratio = image.width / image.height;
    // As in style.css: the window's width, or the width that its height allows.
    frame.load(`min(100vw, calc((100vh - 5rem) * ${ratio}), ${image.width}px)`, true);
    frame.element.style.setProperty("--most", `${image.width}px`);
    this.#stage.replaceChildren(frame.element);
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  #step(by: number): void {
    const images = this.on.images();
    const next = this.#shown && images[images.indexOf(this.#shown) + by];
    if (next) this.#goTo(next);
  }

  #goTo(image: Image): void {
    history.replaceState(history.state, "", `#${image.id}`);
    this.#show(image);
  }

  #closed(): void {
    const last = this.#shown;
    this.#shown = null;
    this.#stage.replaceChildren();
    if (location.hash !== "") {
      const { lightbox } = (history.state ?? {}) as { lightbox?: boolean };
      if (lightbox) history.back();
      else history.replaceState(null, "", location.pathname + location.search);
    }
    if (last) this.on.closed(last);
  }

  async #copy(text: string, done: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.#place.textContent = done;
    } catch {
      this.#place.textContent = "This browser does not allow copying.";
    }
  }

  #listenToFingers(): void {
    let start: Touch | undefined;
    this.#stage.addEventListener(
      "touchstart",
      ({ touches }) => {
        start = touches.length === 1 ? touches[0] : undefined;
      },
      { passive: true },
    );
    this.#stage.addEventListener("touchend", ({ changedTouches }) => {
      const end = changedTouches[0];
      // When zoomed in, a finger pans the image.
      if (!start || !end || (visualViewport?.scale ?? 1) > 1) return;
      const x = end.clientX - start.clientX;
      const y = end.clientY - start.clientY;
      if (Math.abs(x) > swipe && Math.abs(x) > 2 * Math.abs(y)) this.#step(x < 0 ? 1 : -1);
    });
  }
}
