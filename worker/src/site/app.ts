// The gallery page: connects its parts.

import { type Image, Refusal, getImage, getSession, signLink, signOut, whenSignedOut } from "./api";
import { deleteDialog, signInDialog, wordsDialog } from "./dialogs";
import { receiveFiles } from "./drop";
import { Gallery } from "./gallery";
import { acceptInvite, invitesDialog } from "./invites";
import { Lightbox } from "./lightbox";
import { List } from "./list";
import { pageUrl } from "../embed";
import { announce, find } from "./page";
import * as recent from "./recent";
import { RemakeBar } from "./remake";
import { Search } from "./search";
import { SelectMode } from "./select";
import { isInstalled, receiveShares, sharing } from "./shared";
import { trashDialog } from "./trash";
import { Tray } from "./tray";
import { UndoBar } from "./undo";
import { Queue } from "./upload";
import { copied, countOf, invited, linkCopied, nameOf, notShared, signedOut, toShare } from "./words";

const fileInput = find<HTMLInputElement>("files");

/** The tag whose images this page shows; null for all. */
const album = /^\/t\/([^/]+)$/.exec(location.pathname)?.[1] ?? null;
const tag = album === null ? null : decodeURIComponent(album);
if (tag !== null) {
  find("title").textContent = tag;
  find("all").hidden = false;
}

const home = album === null ? "/" : `/t/${album}`;

const gallery = new Gallery(find("grid"), (image) => lightbox.open(image));

const list = new List(gallery, tag, focusOn);

const lightbox = new Lightbox(home, {
  images: () => gallery.images,
  remove: (image) => askToDelete([image]),
  describe: (image) => askForWords(image),
  link: (image) => linkTo(image),
  closed: (last) => {
    undo.moveTo(document.body);
    focusOn(last);
  },
});

const askToSignIn = signInDialog(() => {
  void learnRole().then(() => {
    queue.resume();
    void orNothing(gallery.images.length === 0 ? list.load() : list.catchUp());
  });
});

const askToDelete = deleteDialog((images, forGood) => {
  const [first] = images;
  if (!first) return;
  for (const { id } of images) recent.deleted(id);
  const at = gallery.images.indexOf(first);
  gallery.remove(new Set(images.map(({ id }) => id)));
  select.end();
  const next = gallery.images[at] ?? gallery.images[at - 1];
  lightbox.removed(first.id, next);
  list.showEmptiness();
  const shown = find<HTMLDialogElement>("lightbox");
  if (forGood) undo.dismiss();
  else undo.offer(images, shown.open ? shown : document.body);
  if (!shown.open) {
    if (forGood) focusOn(next);
    else find("undo-restore").focus();
  }
  announce(`${images.length === 1 ? nameOf(first) : countOf(images.length)} deleted.`);
});

const select = new SelectMode(gallery, (images) => askToDelete(images));

const undo = new UndoBar((images) => {
  putBack(images);
  if (images[0]) lightbox.restored(images[0]);
  if (!find<HTMLDialogElement>("lightbox").open) focusOn(images[0]);
});

const showTrash = trashDialog((image) => putBack([image]));

/** Shows images of the trash again. */
function putBack(images: readonly Image[]): void {
  for (const image of images) {
    recent.restored(image.id);
    if (list.has(image)) gallery.insert(image);
  }
  list.showEmptiness();
  announce(`${countOf(images.length)} restored.`);
}

const askForWords = wordsDialog((image) => {
  gallery.replace(image);
  lightbox.replaced(image);
  recent.changed(image);
  announce(`${nameOf(image)} was saved.`);
});

const queue = new Queue({
  changed: (upload) => {
    tray.update(upload);
    if (upload.state.step !== "done") return;
    const { image, duplicate } = upload.state;
    recent.added(image);
    if (list.has(image)) {
      if (duplicate) gallery.prepend(image);
      else gallery.insert(image);
    }
    list.showEmptiness();
  },
  signedOut: () => void lostSession(),
});

const tray = new Tray(
  () => queue,
  () => fileInput.focus(),
);

const remake = new RemakeBar();

/** Moves the focus when the focused element is gone. */
function focusOn(image: Image | undefined): void {
  if (!image || !gallery.focus(image.id)) fileInput.focus();
}

// --- session
// ------------------------------------------------------------------

type Role = "owner" | "guest" | "visitor";

function setRole(role: Role): void {
  if (role === "owner" && !isOwner()) void orNothing(remake.look());
  document.documentElement.dataset["session"] = role;
}

/** Whether visitors see nothing without a signed link. */
let isPrivate = false;

/** Before anything else reads the address. */
const shared = sharing();
const accepting = acceptInvite();
if (shared === "failed") say(notShared);

const whoIsKnown = accepting.then(async (refusal) => {
  await learnRole();
  if (refusal !== null) say(refusal || invited);
});

/** Shows a text above the images. */
function say(text: string): void {
  find("said").textContent = text;
  find("said").hidden = false;
}

async function learnRole(): Promise<void> {
  const session = await orNothing(getSession());
  isPrivate = session?.private ?? false;
  setRole(session?.owner ? "owner" : session?.guest ? "guest" : "visitor");
  if (mayAdd() || isInstalled()) receiveShares();
}

/** For whom the owner gives it to, in a private gallery too. */
async function linkTo(image: Image): Promise<{ text: string; done: string }> {
  await whoIsKnown;
  if (!isPrivate || !isOwner()) return { text: pageUrl(image, location.origin), done: copied };
  const { url } = await signLink(image.id);
  return { text: url, done: linkCopied };
}

function isOwner(): boolean {
  return document.documentElement.dataset["session"] === "owner";
}

function mayAdd(): boolean {
  return document.documentElement.dataset["session"] !== "visitor";
}

/** What the owner was about to do, stays and goes on. */
function lostSession(): Promise<boolean> {
  setRole("visitor");
  return askToSignIn(signedOut);
}
whenSignedOut(lostSession);

const menu = find("menu");
const showInvites = invitesDialog();
for (const [id, open] of [
  ["select-open", () => select.start()],
  ["trash-open", () => showTrash()],
  ["invites-open", () => showInvites()],
] as const) {
  find(id).addEventListener("click", () => {
    // First: a dialog returns the focus to what has it now.
    menu.hidePopover();
    open();
  });
}
find("sign-in-open").addEventListener("click", () => void askToSignIn());
find("sign-out").addEventListener("click", () => {
  menu.hidePopover();
  void orNothing(signOut()).then(() => {
    setRole("visitor");
    select.end();
    undo.dismiss();
    find("sign-in-open").focus();
    announce("You have signed out.");
  });
});

// --- adding -------------------------------------------------------------------

async function take(files: File[]): Promise<void> {
  for (const upload of queue.add(files)) tray.add(upload);
  await whoIsKnown;
  if (mayAdd()) queue.resume();
  else void askToSignIn("Only the owner and invited guests can add images. Sign in, or open your invite again.");
}

fileInput.addEventListener("change", () => {
  void take([...(fileInput.files ?? [])]);
  // Allows choosing the same file again.
  fileInput.value = "";
});
receiveFiles((files) => void take(files));

void queue.restore(isInstalled() ? shared : null, (upload) => {
  tray.add(upload);
  void whoIsKnown.then(() => mayAdd() && queue.resume());
});
void whoIsKnown.then(() => {
  if (!mayAdd() && shared !== null && shared !== "failed") void askToSignIn(toShare);
});

addEventListener("beforeunload", (event) => {
  if (queue.losesOnClose) event.preventDefault();
});

// --- the list -----------------------------------------------------------------

const search = new Search(home, (q) => {
  select.end();
  void list.search(q);
});

/** Shows the linked image, wherever in the list it is. */
async function followAddress(): Promise<void> {
  const id = lightbox.addressed;
  if (id === "") return;
  if (gallery.images.some((image) => image.id === id)) return lightbox.showAddressed();
  try {
    const image = await getImage(id);
    if (lightbox.addressed === id) lightbox.showLinked(image);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    find("gone").hidden = error.status !== 404;
  }
}

async function orNothing<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Refusal) return null;
    throw error;
  }
}

// In a private gallery a guest's invite opens the list.
void accepting.then(() => list.search(search.q)).then(followAddress);
