// The upload queue: files are sent one after another, then polled until they
// are in the gallery. It is independent of the page.

import { type Image, type Parts, Refusal, getUpload, retryUpload, sendFile } from "./api";
import { type Kept, all, drop, hold, keep, one } from "./kept";
import { smaller } from "./smaller";
import { stayAwake } from "./wake";
import { cutOff, offline, saved, unreadable } from "./words";

export type State =
  | { step: "waiting"; reason?: string }
  /** It was shared, perhaps by another site: it is sent if somebody here wants that. */
  | { step: "offered" }
  | { step: "sending"; sent: number }
  /** reason: why the optimizer does not have it yet. */
  | { step: "saved"; reason: string | null }
  | { step: "working" }
  | { step: "storing"; stored: number; total: number }
  | { step: "done"; image: Image; duplicate: boolean }
  | { step: "late" }
  | { step: "failed"; reason: string; again: boolean }
  | { step: "cancelled" };

export interface Upload extends Kept {
  state: State;
  /** Whether a reload loses nothing of it. */
  isKept: boolean;
}

export interface QueueEvents {
  changed(upload: Upload): void;
  signedOut(): void;
}

// The Worker's MAX_UPLOAD_BYTES, and Cloudflare's limit on most plans. The
// Worker decides; this avoids sending what it would refuse.
const maxBytes = 100_000_000;

// Uploads polled at once. The others wait in R2, and are in no hurry.
const maxFollowed = 3;

const firstPoll = 400;
const slowestPoll = 5_000;
const slowestWhileSaved = 15_000;
const patience = 10 * 60_000;

// Retries after faults of the connection or the server: seconds, and number of
// attempts. Being offline does not count.
const firstWait = 2;
const longestWait = 60;
const maxAttempts = 8;

const imageName = /\.(jpe?g|png|webp|gif|hei[cf]|avif|tiff?)$/i;

export class Queue {
  #waiting: Upload[] = [];
  #sent: Upload[] = [];
  #followed = 0;
  #running = false;
  #paused = false;
  #sending: { upload: Upload; abort: AbortController } | null = null;
  #lastKey = 0;

  constructor(private readonly on: QueueEvents) {}

  /** Whether closing the page would lose uploads. */
  get losesOnClose(): boolean {
    return [...this.#waiting, ...(this.#sending ? [this.#sending.upload] : [])].some(({ isKept }) => !isKept);
  }

  /**
   * Adds files. The last is sent first: the gallery has the newest image first, so that these
   * are in their own order there. The uploads are in the order in which they are sent.
   */
  add(files: readonly File[]): Upload[] {
    return [...files].reverse().map((file) => this.#add(file));
  }

  #add(file: File): Upload {
    const { name, size } = file;
    this.#lastKey = Math.max(this.#lastKey + 1, Date.now());
    const kept: Kept = { key: this.#lastKey, name, size, file, id: null, parts: null };
    const upload: Upload = { ...kept, isKept: false, state: stateOf(kept) };
    if (upload.state.step === "waiting") {
      this.#waiting.push(upload);
      hold(upload.key, () => this.#keep(upload));
    }
    return upload;
  }

  /**
   * Takes up what was not finished when the page was closed, and what was shared, unless another
   * tab has it. Of what was shared, only that of the sharing that is named is sent without being
   * asked for. Calls taken with each, in the order in which they are sent.
   */
  async restore(chosen: string | null, taken: (upload: Upload) => void): Promise<void> {
    let last = Promise.resolve();
    for (const kept of await all()) {
      hold(kept.key, () => {
        last = last.then(async () => {
          const now = await one(kept);
          if (now !== undefined) taken(this.#take(now ?? kept, chosen));
        });
      });
    }
  }

  #take({ shared, ...kept }: Kept, chosen: string | null): Upload {
    const upload: Upload = { ...kept, isKept: true, state: stateOf(kept) };
    if (upload.id) {
      this.#sent.push(upload);
    } else if (upload.state.step === "failed") {
      // Shared from another app, nothing has looked at it yet.
      void drop(upload);
    } else if (shared !== undefined && shared !== chosen) {
      return { ...upload, shared, state: { step: "offered" } };
    } else {
      this.#waiting.push(upload);
      if (shared !== undefined) this.#keep(upload); // as one that was chosen
    }
    return upload;
  }

  /** Sends what has failed, or is offered. */
  retry(upload: Upload): void {
    if (upload.id) {
      this.#set(upload, { step: "saved", reason: null });
      // It has waited too long: the Worker tries once more.
      void retryUpload(upload.id).catch(() => undefined);
      this.#sent.push(upload);
      this.#follow();
      return;
    }
    if (upload.shared !== undefined) {
      delete upload.shared;
      this.#keep(upload);
    }
    this.#set(upload, { step: "waiting" });
    this.#waiting.push(upload);
    void this.run();
  }

  cancel(upload: Upload): void {
    if (this.#sending?.upload === upload) this.#sending.abort.abort();
    this.#waiting = this.#waiting.filter((other) => other !== upload);
    this.#set(upload, { step: "cancelled" });
  }

  /** After signing in. */
  resume(): void {
    this.#paused = false;
    void this.run();
    this.#follow();
  }

  async run(): Promise<void> {
    if (this.#running || this.#waiting.length === 0) return;
    this.#running = true;
    const sleep = stayAwake();
    try {
      while (!this.#paused) {
        const upload = this.#waiting.shift();
        if (!upload?.file) break;
        if (!(await this.#send(upload, upload.file))) continue;
        this.#sent.push(upload);
        this.#follow();
      }
    } finally {
      sleep();
      this.#running = false;
    }
  }

  /** Makes a smaller copy to send, once: of that the parts of a large file are, after a reload too. */
  async #prepared(upload: Upload, file: File): Promise<File> {
    if (upload.parts) return file;
    const copy = await smaller(file);
    if (copy !== file) {
      upload.file = copy;
      upload.size = copy.size;
      this.#keep(upload);
    }
    return copy;
  }

  /** Sends a file, however often the connection fails. Resolves to whether it is sent. */
  async #send(upload: Upload, file: File): Promise<boolean> {
    const abort = new AbortController();
    this.#sending = { upload, abort };
    try {
      const prepared = await this.#prepared(upload, file);
      abort.signal.throwIfAborted();
      for (let attempt = 1; ; attempt++) {
        this.#set(upload, { step: "sending", sent: 0 });
        try {
          const progress = (sent: number) => this.#set(upload, { step: "sending", sent });
          const partSent = (parts: Parts | null) => {
            upload.parts = parts;
            this.#keep(upload);
          };
          upload.id = (await sendFile(prepared, upload.parts, { progress, partSent }, abort.signal)).upload;
          upload.file = null;
          this.#set(upload, { step: "saved", reason: null });
          this.#keep(upload);
          return true;
        } catch (error) {
          if (!(error instanceof Refusal) || !isTemporary(error.status) || attempt === maxAttempts) throw error;
          // What cannot be read any more looks like a lost connection. This throws then.
          await prepared.slice(0, 1).arrayBuffer();
          const seconds = Math.min(longestWait, error.retryAfter ?? firstWait * 2 ** (attempt - 1));
          this.#set(upload, { step: "waiting", reason: navigator.onLine ? error.message : offline });
          if (!navigator.onLine) attempt = 0;
          await wait(seconds * 1000, abort.signal);
        }
      }
    } catch (error) {
      if (!abort.signal.aborted) this.#refused(upload, error);
      return false;
    } finally {
      this.#sending = null;
    }
  }

  /** Polls the next uploads, in the order in which they were sent. */
  #follow(): void {
    while (!this.#paused && this.#followed < maxFollowed) {
      const upload = this.#sent.shift();
      if (!upload?.id) return;
      this.#followed++;
      void this.#poll(upload, upload.id).finally(() => {
        this.#followed--;
        this.#follow();
      });
    }
  }

  async #poll(upload: Upload, id: string): Promise<void> {
    let begun = performance.now();
    for (let pause = firstPoll; performance.now() - begun < patience; ) {
      try {
        const { status, stored, total, image, duplicate, error } = await getUpload(id);
        if (status === "done" && image) return this.#set(upload, { step: "done", image, duplicate });
        if (status === "failed") {
          const again = error?.code === "optimizer_unavailable";
          return this.#set(upload, { step: "failed", reason: error?.message ?? cutOff, again });
        }
        if (status === "saved") {
          // However long that takes.
          begun = performance.now();
          const isAway = error?.code === "optimizer_unavailable";
          this.#set(upload, { step: "saved", reason: error && (isAway ? saved : `Saved. ${error.message}`) });
        } else {
          this.#set(upload, status === "storing" ? { step: "storing", stored, total } : { step: "working" });
        }
      } catch (error) {
        // The image is still being processed, whatever this request returned.
        if (!(error instanceof Refusal)) throw error;
        if (error.status === 404) return this.#set(upload, { step: "late" });
        if (error.status === 401) {
          this.#paused = true;
          this.#sent.unshift(upload);
          return this.on.signedOut();
        }
      }
      await wait(pause);
      pause = Math.min(upload.state.step === "saved" ? slowestWhileSaved : slowestPoll, pause * 1.3);
    }
    this.#set(upload, { step: "late" });
  }

  #refused(upload: Upload, error: unknown): void {
    // The file was changed or removed since it was chosen, for example.
    if (error instanceof DOMException) {
      this.#set(upload, { step: "failed", reason: unreadable, again: false });
      return;
    }
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401) {
      this.#paused = true;
      this.#waiting.unshift(upload);
      this.#set(upload, { step: "waiting" });
      this.on.signedOut();
      return;
    }
    const reason = error.status === 0 ? cutOff : error.message;
    this.#set(upload, { step: "failed", reason, again: isTemporary(error.status) });
  }

  #set(upload: Upload, state: State): void {
    // A canceled upload stays canceled, whatever its request returns.
    if (upload.state.step === "cancelled" && state.step !== "waiting") return;
    upload.state = state;
    if (["done", "late", "cancelled"].includes(state.step) || (state.step === "failed" && !state.again)) {
      void drop(upload);
    }
    this.on.changed(upload);
  }

  #keep(upload: Upload): void {
    void keep(upload).then((isKept) => {
      upload.isKept = isKept;
      // It may have ended meanwhile.
      if (["done", "late", "cancelled"].includes(upload.state.step)) void drop(upload);
    });
  }
}

/** Whether the same request may succeed later; others are refused for what they are. */
function isTemporary(status: number): boolean {
  return status === 0 || status === 409 || status === 429 || status >= 500;
}

/** The state in which an upload begins. */
function stateOf({ id, file }: Kept): State {
  if (id !== null) return { step: "saved", reason: null };
  const reason = file && objection(file);
  return reason ? { step: "failed", reason, again: false } : { step: "waiting" };
}

/** Returns why a file cannot be sent, or null. The server checks its content. */
function objection(file: File): string | null {
  if (file.size === 0) return "This file is empty.";
  if (file.size > maxBytes) return `This file is too large: ${Math.ceil(file.size / 1e6)} MB; the limit is 100 MB.`;
  if (file.type === "image/svg+xml") return "SVG is not supported. Add a photo or another pixel image.";
  if (file.type !== "" && !file.type.startsWith("image/") && !imageName.test(file.name)) return "This is not an image.";
  return null;
}

/** Ends early when the connection is back. */
function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    addEventListener("online", () => resolve(), { once: true });
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
