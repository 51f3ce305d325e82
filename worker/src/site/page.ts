// Finding and creating elements.

/** Returns an element of index.html; a missing one is a bug. */
export function find<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const svg = "http://www.w3.org/2000/svg";

/** One of the symbols at the top of index.html. */
export function icon(name: string): SVGSVGElement {
  const use = document.createElementNS(svg, "use");
  use.setAttribute("href", `#icon-${name}`);
  const made = document.createElementNS(svg, "svg");
  made.setAttribute("class", "icon");
  made.setAttribute("aria-hidden", "true");
  made.append(use);
  return made;
}

/** Announces visible changes to screen readers. */
export function announce(text: string): void {
  find("announcer").textContent = text;
}
