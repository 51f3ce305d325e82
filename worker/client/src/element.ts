// <optimized-image src="https://photos.example.com/p/ID">: an image of a gallery in all
// its sizes and formats, by the address of its page. Attributes sizes, alt, loading and
// class have the meaning that they have for <img>; with width and height the page does
// not shift when the image's own are not known yet. What is inside the element stays if
// the image is not there; then it also fires "error", otherwise "load".

import { gallery, pictureAttributes } from "./index.js";

export class OptimizedImage extends HTMLElement {
  static readonly observedAttributes = ["src", "sizes", "alt", "loading"];
  #shown = 0;

  connectedCallback(): void {
    void this.#show();
  }

  attributeChangedCallback(): void {
    if (this.isConnected) void this.#show();
  }

  async #show(): Promise<void> {
    const mine = ++this.#shown;
    const attribute = (name: string) => this.getAttribute(name) ?? undefined;
    const [width, height] = [attribute("width"), attribute("height")];
    this.style.display ||= "block";
    if (width && height) {
      this.style.aspectRatio = `${width} / ${height}`;
      this.style.maxWidth = `${width}px`;
    }
    try {
      const { href } = new URL(attribute("src") ?? "", document.baseURI);
      const [, site, id] = /^(.*)\/p\/([a-z2-7]{26})\/?$/.exec(href) ?? [];
      if (!site || !id) throw new Error("src must be the address of an image's page");
      const image = await gallery(site).get(id);
      if (mine !== this.#shown) return; // src has changed since
      const picture = document.createElement("picture");
      const { sizes, alt } = { sizes: attribute("sizes"), alt: attribute("alt") };
      const all = pictureAttributes(image, {
        ...(sizes && { sizes }),
        ...(alt !== undefined && { alt }),
        loading: attribute("loading") === "eager" ? "eager" : "lazy",
      });
      for (const [i, attributes] of all.entries()) {
        const element = document.createElement(i < all.length - 1 ? "source" : "img");
        picture.append(element); // before it has a src, or the browser fetches that beside a source's
        for (const [name, value] of Object.entries(attributes)) {
          // A strict policy refuses style attributes, but not this.
          if (name === "style") element.style.cssText = value;
          else element.setAttribute(name, value);
        }
      }
      this.replaceChildren(picture);
      this.dispatchEvent(new Event("load"));
    } catch {
      if (mine === this.#shown) this.dispatchEvent(new Event("error"));
    }
  }
}

customElements.define("optimized-image", OptimizedImage);
