// The owner's dialog with the images that can be restored.

import { type Image, type TrashedImage, deleteImage, listTrash, restoreImage } from "./api";
import { busy, said } from "./dialogs";
import { find, make } from "./page";
import { placeholder } from "./thumb";
import { nameOf, timeOf } from "./words";

/** restored is called with each image that is in the gallery again. */
export function trashDialog(restored: (image: Image) => void): () => void {
  const dialog = find<HTMLDialogElement>("trash");
  const rows = find("trash-rows");
  const more = find<HTMLButtonElement>("trash-more");
  let cursor: string | null = null;

  const complain = (reason: unknown) => {
    find("trash-error").textContent = said(reason);
  };
  const load = async () => {
    const page = await listTrash(cursor);
    cursor = page.cursor;
    rows.append(...page.images.map(row));
    showEmptiness();
  };
  const showEmptiness = () => {
    more.hidden = cursor === null;
    rows.hidden = rows.childElementCount === 0;
    find("trash-empty").hidden = !rows.hidden || cursor !== null;
  };
  const row = ({ image, expires_at }: TrashedImage) => {
    const name = nameOf(image);
    const button = (text: string, work: () => Promise<void>) => {
      const made = make("button", { type: "button", className: "quiet small", textContent: text });
      made.setAttribute("aria-label", `${text}: ${name}`);
      made.addEventListener("click", () => {
        find("trash-error").textContent = "";
        busy(dialog, async () => {
          await work();
          element.remove();
          showEmptiness();
        })
          // The button is gone.
          .then(() => find("trash-close").focus())
          .catch(complain);
      });
      return made;
    };
    const about = make(
      "div",
      { className: "about" },
      make("span", { className: "name", textContent: name }),
      make("span", { className: "step", textContent: `Until ${timeOf(expires_at)}` }),
    );
    const element = make(
      "li",
      {},
      make("div", { className: "preview" }, placeholder(image)),
      about,
      button("Restore", async () => restored(await restoreImage(image.id))),
      button("Delete for good", async () => void (await deleteImage(image.id))),
    );
    return element;
  };

  more.addEventListener("click", () => {
    busy(dialog, load).catch(complain);
  });
  find("trash-close").addEventListener("click", () => dialog.close());
  return () => {
    find("trash-error").textContent = "";
    rows.replaceChildren();
    cursor = null;
    showEmptiness();
    find("trash-empty").hidden = true; // until that is known
    dialog.showModal();
    void load().catch(complain);
  };
}
