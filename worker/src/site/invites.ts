// The owner's dialog with the invites, and the link that signs a phone in.

import { type Invite, Refusal, createInvite, listInvites, revokeInvite, signIn } from "./api";
import { busy, said } from "./dialogs";
import { find, make } from "./page";
import { copied, dateOf, notCopied } from "./words";

const marker = "#invite=";

/** Accepts the invite in the page's address, and removes it from there. Null without one; "" if it is valid. */
export async function acceptInvite(): Promise<string | null> {
  if (!location.hash.startsWith(marker)) return null;
  const token = location.hash.slice(marker.length);
  // It must not stay in the history, nor be what "Copy link" or a screenshot passes on.
  history.replaceState(null, "", location.pathname);
  try {
    await signIn(token);
    return "";
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return error.status === 401 ? "This invite has expired or was revoked. Ask for another." : error.message;
  }
}

export function invitesDialog(): () => void {
  const dialog = find<HTMLDialogElement>("invites");
  const form = find<HTMLFormElement>("invites-form");
  const rows = find("invites-rows");
  const link = find<HTMLInputElement>("invite-link");
  const status = find("invite-said");
  const usual = status.textContent;

  const complain = (reason: unknown) => {
    find("invites-error").textContent = said(reason);
  };
  const show = async () => {
    const { invites } = await listInvites();
    rows.replaceChildren(...invites.map(row));
  };
  const row = ({ id, name, expires_at }: Invite) => {
    const shown = name || "Unnamed";
    const button = make("button", { type: "button", className: "quiet small", textContent: "Revoke" });
    button.setAttribute("aria-label", `Revoke: ${shown}`);
    button.addEventListener("click", () => {
      busy(dialog, async () => {
        await revokeInvite(id);
        await show();
        find("invites-close").focus();
      }).catch(complain);
    });
    return make("li", {}, make("span", { textContent: `${shown}, until ${dateOf(expires_at)}` }), button);
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find("invites-error").textContent = "";
    busy(form, async () => {
      const { value: name } = find<HTMLInputElement>("invite-name");
      const made = await createInvite(name, find<HTMLInputElement>("invite-days").valueAsNumber);
      find<HTMLImageElement>("invite-qr").src = made.qr;
      link.value = made.url;
      status.textContent = usual;
      find("invite").hidden = false;
      await show();
    })
      .then(() => link.focus())
      .catch(complain);
  });
  find("invite-copy").addEventListener("click", () => {
    void navigator.clipboard.writeText(link.value).then(
      () => (status.textContent = copied),
      () => (status.textContent = notCopied),
    );
  });
  find("invites-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    form.reset();
    find("invite").hidden = true;
  });
  return () => {
    find("invites-error").textContent = "";
    dialog.showModal();
    void show().catch(complain);
  };
}
