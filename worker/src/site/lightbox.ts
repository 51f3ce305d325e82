// One image in the full window. It has a URL (/p/id), so that it can be linked
// and closed with the back button.

import { pageUrl, pictureHtml } from "../embed";
import { type Image, Refusal } from "./api";
import { find, make } from "./page";
import { Frame } from "./picture";
import { nameOf, notCopied } from "./words";

export interface LightboxEvents {
  images(): readonly Image[];
  remove(image: Image): void;
  describe(image: Image): void;
  /** A link to an image, and the words that say that it was copied. */
  link(image: Image): Promise<{ text: string; done: string }>;
  closed(last: Image): void;
}

// Minimum horizontal distance of a swipe, in pixels.
const swipe = 48;

/** An image as large as the window allows, on its way. */
function frameOf(image: Image): Frame {
  const frame = new Frame(image, true);
  // As in style/image.css: the window's width, or the width that its height allows.
  const byHeight = `calc((100vh - 5rem) * ${image.width / image.height})`;
  frame.load(`min(100vw, ${byHeight}, ${image.width}px)`, true);
  return frame;
}

export class Lightbox {
  readonly #dialog = find<HTMLDialogElement>("lightbox");
  readonly #caption = find("caption");
  readonly #place = find("place");
  readonly #stage = find("stage");
  #shown: Image | null = null;
  /** The shown one and its neighbors. */
  #frames: Frame[] = [];

  /** home: the address of the page without an image. */
  constructor(
    private readonly home: string,
    private readonly on: LightboxEvents,
  ) {
    find("lightbox-close").addEventListener("click", () => this.#dialog.close());
    find("lightbox-back").addEventListener("click", () => this.#step(-1));
    find("lightbox-on").addEventListener("click", () => this.#step(1));
    find("lightbox-delete").addEventListener("click", () => this.#shown && on.remove(this.#shown));
    find("lightbox-words").addEventListener("click", () => this.#shown && on.describe(this.#shown));
    find("copy-link").addEventListener("click", () => void this.#copyLink());
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

  /** The id in the URL, or "". (Older links have it behind a #.) */
  get addressed(): string {
    return /^\/p\/([^/]+)$/.exec(location.pathname)?.[1] ?? location.hash.slice(1);
  }

  open(image: Image): void {
    // The focus moves to the image seen last, which may be elsewhere.
    history.scrollRestoration = "manual";
    history.pushState({ lightbox: true }, "", pageUrl(image));
    this.#show(image);
  }

  /** Shows an image by itself: it need not be in the part of the list that is loaded. */
  showLinked(image: Image): void {
    this.#show(image);
  }

  /** Shows the image in the URL. */
  showAddressed(): void {
    const image = this.on.images().find(({ id }) => id === this.addressed);
    if (image) this.#show(image);
    else this.#dialog.close();
  }

  /** Shows the changed words of the current image. */
  replaced(image: Image): void {
    if (this.#shown?.id === image.id) this.#show(image);
  }

  /** Shows an image that is in the list again, if any is shown. */
  restored(image: Image): void {
    if (this.#dialog.open) this.#goTo(image);
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
    const at = images.findIndex(({ id }) => id === image.id);
    this.#caption.textContent = nameOf(image);
    find("caption-text").textContent = image.caption;
    find("caption-tags").replaceChildren(
      ...image.tags.flatMap((tag) => [make("a", { href: `/t/${encodeURIComponent(tag)}`, textContent: tag }), " "]),
    );
    this.#place.textContent = at < 0 ? "" : `${at + 1} of ${images.length}`;
    find<HTMLButtonElement>("lightbox-back").disabled = at <= 0;
    find<HTMLButtonElement>("lightbox-on").disabled = at < 0 || at === images.length - 1;

    const frame = this.#frameOf(image);
    frame.element.style.setProperty("--most", `${image.width}px`);
    this.#stage.replaceChildren(frame.element);
    if (!this.#dialog.open) this.#dialog.showModal();
    void frame.loaded.then(() => this.#preload(frame));
  }

  /** Loads what a step leads to, unless the visitor has gone on or saves data. */
  #preload(frame: Frame): void {
    const { connection } = navigator as { connection?: { saveData: boolean } };
    if (this.#shown !== frame.image || connection?.saveData) return;
    const images = this.on.images();
    const at = images.indexOf(frame.image);
    const neighbors = at < 0 ? [] : [images[at + 1], images[at - 1]];
    this.#frames = [frame, ...neighbors.flatMap((image) => (image ? [this.#frameOf(image)] : []))];
  }

  #frameOf(image: Image): Frame {
    return this.#frames.find((frame) => frame.image === image) ?? frameOf(image);
  }

  #step(by: number): void {
    const images = this.on.images();
    const at = images.findIndex(({ id }) => id === this.#shown?.id);
    const next = at < 0 ? undefined : images[at + by];
    if (next) this.#goTo(next);
  }

  #goTo(image: Image): void {
    history.replaceState(history.state, "", pageUrl(image));
    this.#show(image);
  }

  #closed(): void {
    const last = this.#shown;
    this.#shown = null;
    this.#stage.replaceChildren();
    this.#frames = [];
    if (this.addressed !== "") {
      const { lightbox } = (history.state ?? {}) as { lightbox?: boolean };
      if (lightbox) history.back();
      else history.replaceState(null, "", this.home);
    }
    if (last) this.on.closed(last);
  }

  async #copyLink(): Promise<void> {
    if (!this.#shown) return;
    try {
      const { text, done } = await this.on.link(this.#shown);
      await this.#copy(text, done);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#place.textContent = error.message;
    }
  }

  async #copy(text: string, done: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.#place.textContent = done;
    } catch {
      this.#place.textContent = notCopied;
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
