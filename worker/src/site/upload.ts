// The upload queue: files are sent one after another, then polled until they
// are in the gallery. It is independent of the page.

import { type Image, Refusal, getUpload, sendFile } from "./api";
import { cutOff } from "./words";

export type State =
  | { step: "waiting"; reason?: string }
  | { step: "sending"; sent: number }
  | { step: "working" }
  | { step: "storing"; stored: number; total: number }
  | { step: "done"; image: Image }
  | { step: "late" }
  | { step: "failed"; reason: string; again: boolean }
  | { step: "cancelled" };

export interface Upload {
  readonly file: File;
  state: State;
}

export interface QueueEvents {
  changed(upload: Upload): void;
  signedOut(): void;
}

// The Worker's MAX_UPLOAD_BYTES, and Cloudflare's limit on most plans. The
// Worker decides; this avoids sending what it would refuse.
const maxBytes = 100_000_000;

// Images being processed while the next is sent: enough to keep the connection
// and the optimizer busy without filling its queue.
const maxInWork = 3;

const firstPoll = 400;
const slowestPoll = 5_000;
const patience = 10 * 60_000;

// Retries when the daemon's queue is full: seconds, and number of attempts.
const usualWait = 10;
const longestWait = 60;
const maxAttempts = 5;

const imageName = /\.(jpe?g|png|webp|gif|hei[cf]|avif|tiff?)$/i;

export class Queue {
  #waiting: Upload[] = [];
  #inWork = new Set<Promise<void>>();
  #running = false;
  #paused = false;
  #sending: { upload: Upload; abort: AbortController } | null = null;

  constructor(private readonly on: QueueEvents) {}

  /** Whether closing the page would lose uploads. */
  get isSending(): boolean {
    return this.#sending !== null || this.#waiting.length > 0;
  }

  add(file: File): Upload {
    const reason = objection(file);
    const upload: Upload = {
      file,
      state: reason === null ? { step: "waiting" } : { step: "failed", reason, again: false },
    };
    if (reason === null) this.#waiting.push(upload);
    return upload;
  }

  retry(upload: Upload): void {
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
  }

  async run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    while (!this.#paused) {
      const upload = this.#waiting.shift();
      if (!upload) break;
      const id = await this.#send(upload);
      if (id === null) continue;
      const followed = this.#follow(upload, id).finally(() => this.#inWork.delete(followed));
      this.#inWork.add(followed);
      if (this.#inWork.size >= maxInWork) await Promise.race(this.#inWork);
    }
    this.#running = false;
  }

  async #send(upload: Upload): Promise<string | null> {
    const abort = new AbortController();
    this.#sending = { upload, abort };
    try {
      for (let attempt = 1; ; attempt++) {
        this.#set(upload, { step: "sending", sent: 0 });
        try {
          const progress = (sent: number) => this.#set(upload, { step: "sending", sent });
          return (await sendFile(upload.file, progress, abort.signal)).upload;
        } catch (error) {
          if (!(error instanceof Refusal) || error.status !== 429 || attempt === maxAttempts) throw error;
          const seconds = Math.min(longestWait, error.retryAfter ?? usualWait);
          this.#set(upload, { step: "waiting", reason: error.message });
          await wait(seconds * 1000, abort.signal);
        }
      }
    } catch (error) {
      if (!abort.signal.aborted) this.#refused(upload, error);
      return null;
    } finally {
      this.#sending = null;
    }
  }

  async #follow(upload: Upload, id: string): Promise<void> {
    this.#set(upload, { step: "working" });
    const begun = performance.now();
    for (let pause = firstPoll; performance.now() - begun < patience; pause = Math.min(slowestPoll, pause * 1.3)) {
      try {
        const { status, stored, total, image, error } = await getUpload(id);
        if (status === "done" && image) return this.#set(upload, { step: "done", image });
        if (status === "failed") {
          return this.#set(upload, { step: "failed", reason: error?.message ?? cutOff, again: false });
        }
        this.#set(upload, status === "storing" ? { step: "storing", stored, total } : { step: "working" });
      } catch (error) {
        // The image is still being processed, whatever this request returned.
        if (!(error instanceof Refusal)) throw error;
        if (error.status === 401) this.on.signedOut();
        if (error.status === 401 || error.status === 404) return this.#set(upload, { step: "late" });
      }
      await wait(pause);
    }
    this.#set(upload, { step: "late" });
  }

  #refused(upload: Upload, error: unknown): void {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401) {
      this.#paused = true;
      this.#waiting.unshift(upload);
      this.#set(upload, { step: "waiting" });
      this.on.signedOut();
      return;
    }
    // An image that was refused for its content will be refused again.
    const again = ![400, 413, 415, 422].includes(error.status);
    this.#set(upload, { step: "failed", reason: error.status === 0 ? cutOff : error.message, again });
  }

  #set(upload: Upload, state: State): void {
    // A canceled upload stays canceled, whatever its request returns.
    if (upload.state.step === "cancelled" && state.step !== "waiting") return;
    upload.state = state;
    this.on.changed(upload);
  }
}

/** Returns why a file cannot be sent, or null. The server checks its content. */
function objection(file: File): string | null {
  if (file.size === 0) return "This file is empty.";
  if (file.size > maxBytes) return `This file is too large: ${Math.ceil(file.size / 1e6)} MB; the limit is 100 MB.`;
  if (file.type === "image/svg+xml") return "SVG is not supported. Add a photo or another pixel image.";
  if (file.type !== "" && !file.type.startsWith("image/") && !imageName.test(file.name)) return "This is not an image.";
  return null;
}

function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
