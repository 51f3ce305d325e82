// The gallery page: connects its parts.

import { type Image, Refusal, getSession, listImages, signOut } from "./api";
import { deleteDialog, signInDialog } from "./dialogs";
import { receiveFiles } from "./drop";
import { Gallery } from "./gallery";
import { Lightbox } from "./lightbox";
import { announce, find } from "./page";
import * as recent from "./recent";
import { Tray } from "./tray";
import { Queue } from "./upload";
import { nameOf, signedOut } from "./words";

const more = find<HTMLButtonElement>("more");
const fileInput = find<HTMLInputElement>("files");

const gallery = new Gallery(find("grid"), {
  open: (image) => lightbox.open(image),
  remove: (image) => askToDelete(image),
});

const lightbox = new Lightbox({
  images: () => gallery.images,
  remove: (image) => askToDelete(image),
  closed: (last) => focusOn(last),
});

const askToSignIn = signInDialog(() => {
  setOwner(true);
  queue.resume();
  void orNothing(catchUp());
});

const askToDelete = deleteDialog(
  (image) => {
    recent.deleted(image.id);
    const at = gallery.images.indexOf(image);
    gallery.remove(image.id);
    const next = gallery.images[at] ?? gallery.images[at - 1];
    lightbox.removed(image.id, next);
    if (!find<HTMLDialogElement>("lightbox").open) focusOn(next);
    showEmptiness();
    announce(`${nameOf(image)} was deleted.`);
  },
  () => lostSession(),
);

const queue = new Queue({
  changed: (upload) => {
    tray.update(upload);
    if (upload.state.step !== "done") return;
    recent.added(upload.state.image);
    gallery.prepend(upload.state.image);
    showEmptiness();
  },
  signedOut: () => lostSession(),
});

const tray = new Tray(
  () => queue,
  () => fileInput.focus(),
);

/** Moves the focus when the focused element is gone. */
function focusOn(image: Image | undefined): void {
  if (!image || !gallery.focus(image.id)) fileInput.focus();
}

// --- session
// ------------------------------------------------------------------

function setOwner(owner: boolean): void {
  document.documentElement.dataset["session"] = owner ? "owner" : "visitor";
}

const whoIsKnown = orNothing(getSession()).then((session) => setOwner(session?.owner ?? false));

function isOwner(): boolean {
  return document.documentElement.dataset["session"] === "owner";
}

function lostSession(): void {
  setOwner(false);
  askToSignIn(signedOut);
}

find("sign-in-open").addEventListener("click", () => askToSignIn());
find("sign-out").addEventListener("click", () => {
  void orNothing(signOut()).then(() => {
    setOwner(false);
    find("sign-in-open").focus();
    announce("You have signed out.");
  });
});

// --- adding -------------------------------------------------------------------

async function take(files: File[]): Promise<void> {
  for (const file of files) tray.add(queue.add(file));
  await whoIsKnown;
  if (isOwner()) queue.resume();
  else askToSignIn("Only the owner of this gallery can add to it.");
}

fileInput.addEventListener("change", () => {
  void take([...(fileInput.files ?? [])]);
  // Allows choosing the same file again.
  fileInput.value = "";
});
receiveFiles((files) => void take(files));

addEventListener("beforeunload", (event) => {
  if (queue.isSending) event.preventDefault();
});

// --- the list -----------------------------------------------------------------

let cursor: string | null = null;
let loading: Promise<void> | null = null;

/** Loads the next page. Concurrent calls share one request. */
function loadMore(): Promise<void> {
  loading ??= loadPage().finally(() => (loading = null));
  return loading;
}

async function loadPage(): Promise<void> {
  const isFirst = cursor === null;
  const grid = find("grid");
  const hadFocus = document.activeElement === more;
  // Elements below the grid are hidden while it grows, so that nothing jumps.
  more.hidden = true;
  find("broken").hidden = true;
  grid.ariaBusy = "true";
  try {
    const page = await listImages(cursor);
    const before = gallery.images.length;
    cursor = page.cursor;
    gallery.append(recent.corrected(page.images, isFirst), cursor !== null);
    more.hidden = cursor === null;
    find("foot").hidden = cursor !== null;
    showEmptiness();
    if (hadFocus) focusOn(gallery.images[before]);
    if (!isFirst) announce(`${page.images.length} more images.`);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    find("broken-text").textContent = error.message;
    find("broken").hidden = false;
    if (hadFocus) find("broken-retry").focus();
  }
  grid.ariaBusy = "false";
}

/** Visitors share a list for some minutes; the owner sees everything. */
async function catchUp(): Promise<void> {
  const { images } = await listImages(null);
  const known = new Set(gallery.images.map(({ id }) => id));
  const missing = recent.corrected(images, true).filter(({ id }) => !known.has(id));
  for (const image of missing.reverse()) gallery.prepend(image);
  showEmptiness();
}

function showEmptiness(): void {
  find("empty").hidden = gallery.images.length > 0;
}

/** Loads pages until the linked image is there. */
async function followAddress(): Promise<void> {
  const isThere = () => gallery.images.some(({ id }) => id === lightbox.addressed);
  while (lightbox.addressed !== "" && !isThere() && cursor !== null) await loadMore();
  if (isThere()) lightbox.showAddressed();
}

more.addEventListener("click", () => void loadMore());
find("broken-retry").addEventListener("click", () => void loadMore());
const nearing = new IntersectionObserver(
  ([entry]) => {
    if (entry?.isIntersecting && !more.hidden) void loadMore();
  },
  { rootMargin: "800px" },
);
nearing.observe(more);

async function orNothing<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Refusal) return null;
    throw error;
  }
}

void loadMore().then(followAddress);
