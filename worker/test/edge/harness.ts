// A Worker under test: real R2, KV and cache of the runtime, the real daemon
// behind the proxy, every subrequest counted. The queue is in the test's hands,
// so that messages come when, and as often as, a test wants.

import { createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { Webhook } from "standardwebhooks";
import { inject, vi } from "vitest";
import type { Job, Manifest, Upload, UploadAccepted } from "../../src/api";
import type { Env, Work } from "../../src/env";
import worker from "../../src/index";
import { consume } from "../../src/queue";
import { type UploadState, readUpload } from "../../src/state";
import { objectionTo } from "./contract";

export const origin = "https://gallery.example.com";
export const ownerToken = "the owner's token";
const proxyUrl = inject("proxyUrl");

const unlimited: RateLimit = { limit: () => Promise.resolve({ success: true }) };

/** What one invocation asked of others. */
export interface Invocation {
  what: string;
  /** Requests to the daemon. */
  external: number;
  /** Operations on R2, KV, the queue and the cache. */
  internal: number;
  kvWrites: number;
  /** Rows of D1, as D1 counts them. */
  rowsRead: number;
  rowsWritten: number;
}

const none = { external: 0, internal: 0, kvWrites: 0, rowsRead: 0, rowsWritten: 0 };

export interface Pending {
  body: Work;
  delaySeconds: number;
  attempts: number;
}

export class Worker {
  env: Env;
  readonly invocations: Invocation[] = [];
  queue: Pending[] = [];
  #now: Invocation = { what: "", ...none };

  constructor(overrides: Partial<Env> = {}) {
    const count = () => this.#now.internal++;
    const counting = <T extends object>(target: T, on: (method: string) => void): T =>
      new Proxy(target, {
        get(object, name) {
          const value: unknown = Reflect.get(object, name);
          if (typeof value !== "function") return value;
          return (...args: unknown[]) => {
            on(String(name));
            return Reflect.apply(value, object, args) as unknown;
          };
        },
      });
    const queue = {
      send: (body: Work, options?: QueueSendOptions) => {
        count();
        this.queue.push({ body, delaySeconds: options?.delaySeconds ?? 0, attempts: 1 });
        return Promise.resolve();
      },
    };
    this.env = {
      ...env,
      OPTIMIZER: counting(env.OPTIMIZER as Fetcher, () => this.#now.external++),
      IMAGES: counting(env.IMAGES, count),
      META: counting(env.META, (method) => {
        count();
        if (method === "put") this.#now.kvWrites++;
      }),
      INDEX: this.#countRows(env.INDEX as D1Database),
      WORK: queue as unknown as Queue<Work>,
      // Tests of the limits take the real ones: all others have one address.
      ORDERS: unlimited,
      ALL_ORDERS: unlimited,
      SIGN_INS: unlimited,
      ...overrides,
    };
    for (const method of ["match", "put"] as const) {
      const original = Cache.prototype[method] as (...args: unknown[]) => unknown;
      vi.spyOn(caches.default, method).mockImplementation(((...args: unknown[]) => {
        count();
        return original.apply(caches.default, args);
      }) as never);
    }
  }

  /** A request, and all that it leaves to be done after its answer. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    this.#begin(`${init.method ?? "GET"} ${path}`);
    const ctx = createExecutionContext();
    const request = new Request(new URL(path, origin), init) as Request<unknown, IncomingRequestCfProperties>;
    const response = await worker.fetch(request, this.env, ctx);
    // The body must be taken while the context waits for the cache to take it.
    const body = response.body === null ? null : await response.arrayBuffer();
    await waitOnExecutionContext(ctx);
    const text = body === null ? "" : new TextDecoder().decode(body);
    const objection = objectionTo(request.method, new URL(request.url).pathname, response, text);
    if (objection !== null) throw new Error(objection);
    return new Response(body, response);
  }

  /** A request of the owner's program. */
  owner(path: string, init: RequestInit = {}): Promise<Response> {
    return this.fetch(path, {
      ...init,
      headers: { ...(init.headers as object), Authorization: `Bearer ${ownerToken}` },
    });
  }

  async upload(photo: ArrayBuffer, filename = "photo.jpg"): Promise<UploadAccepted & { httpStatus: number }> {
    const response = await this.owner(`/api/images?filename=${filename}`, {
      method: "POST",
      body: photo,
      headers: lengthOf(photo),
    });
    return { httpStatus: response.status, ...(await response.json<UploadAccepted>()) };
  }

  /** What the cron trigger starts. */
  async tick(): Promise<void> {
    this.#begin("scheduled");
    await worker.scheduled({} as ScheduledController, this.env);
  }

  async status(upload: string): Promise<Upload> {
    return (await this.owner(`/api/uploads/${upload}`)).json<Upload>();
  }

  /** Handles one message of this kind; false if there is none. What fails comes back, as the real queue has it. */
  async step(kind: Work["kind"] = "pull"): Promise<boolean> {
    const index = this.queue.findIndex(({ body }) => body.kind === kind);
    const [message] = index < 0 ? [] : this.queue.splice(index, 1);
    if (!message) return false;
    await this.handle(message);
    return true;
  }

  async handle(message: Pending): Promise<void> {
    this.#begin(JSON.stringify(message.body));
    let again: Pending | null = null;
    // The runtime's own batch would not tell the delay of a retry.
    const delivered: Message<Work> = {
      id: crypto.randomUUID(),
      timestamp: new Date(),
      body: message.body,
      attempts: message.attempts,
      ack: () => {},
      retry: (options) => {
        again = { ...message, attempts: message.attempts + 1, delaySeconds: options?.delaySeconds ?? 0 };
      },
    };
    await consume([delivered], this.env);
    if (again) this.queue.push(again);
  }

  /** Handles messages of this kind until there are none. */
  async drain(kind: Work["kind"] = "pull"): Promise<void> {
    while (await this.step(kind));
  }

  /** What the daemon would post at the end of this job. */
  async webhook(
    job: Job,
    change: { id?: string; age?: number; secret?: string; body?: string } = {},
  ): Promise<Response> {
    const event = { type: `job.${job.status}`, timestamp: job.finished_at, data: job };
    const body = JSON.stringify(event);
    const id = change.id ?? `msg_${job.id}`;
    const at = new Date(Date.now() - (change.age ?? 0) * 1000);
    const secret = change.secret ?? (env.WEBHOOK_SECRET as string);
    return this.fetch(`/api/webhook?upload=${uploads.get(job.id) ?? ""}`, {
      method: "POST",
      headers: {
        "webhook-id": id,
        "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
        "webhook-signature": new Webhook(secret).sign(id, at, body),
      },
      body: change.body ?? body,
    });
  }

  #begin(what: string): void {
    this.#now = { what, ...none };
    this.invocations.push(this.#now);
  }

  /** Preparing a statement asks nobody. */
  #countRows(index: D1Database): D1Database {
    const batch: D1Database["batch"] = async <T>(statements: D1PreparedStatement[]) => {
      const now = this.#now;
      now.internal++;
      const results = await index.batch<T>(statements);
      for (const { meta } of results) {
        now.rowsRead += meta.rows_read;
        now.rowsWritten += meta.rows_written;
      }
      return results;
    };
    return new Proxy(index, {
      get(object, name) {
        const value: unknown = name === "batch" ? batch : Reflect.get(object, name);
        return typeof value === "function" ? (value.bind(object) as unknown) : value;
      },
    });
  }
}

/** The counts, as the log of a test run shows them. README.md's figures are these. */
export function report(invocations: Invocation[]): string {
  const line = ({ what, external, internal, kvWrites, rowsWritten }: Invocation) =>
    `${String(external).padStart(2)} to the daemon, ${String(internal).padStart(2)} to Cloudflare, ` +
    `${kvWrites} KV writes, ${rowsWritten} rows of D1 written: ${what}`;
  return invocations.map(line).join("\n");
}

const daemonAuthorization = { Authorization: "Bearer a-token-of-the-tests-alone" };

/** Straight to the daemon. */
export async function daemon<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await fetch(proxyUrl + path, {
    ...init,
    headers: { ...(init.headers as object), ...daemonAuthorization },
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (response.status === 204 ? null : await response.json()) as T;
}

/** The index as it is before anything was written to it. */
export async function dropIndex(): Promise<void> {
  for (const table of ["images", "tags", "migration", "texts"]) await env.INDEX?.exec(`DROP TABLE IF EXISTS ${table}`);
}

/** Empties all that is stored. The runtime may still have written what it had in memory after a reset. */
export async function empty(): Promise<void> {
  const left = async () => [
    ...(await env.META.list()).keys,
    ...(await env.IMAGES.list()).objects,
    ...((await env.INDEX?.prepare("SELECT name FROM sqlite_master WHERE name = 'images'").all())?.results ?? []),
  ];
  do {
    await dropIndex();
    await reset();
  } while ((await left()).length > 0);
}

/** The upload of each job. */
const uploads = new Map<string, string>();

/** The state of an upload, without moving it on. */
export async function stateOf(upload: string): Promise<UploadState> {
  const state = await readUpload(env as unknown as Env, upload);
  if (state === null) throw new Error(`there is no ${upload}`);
  return state;
}

/** The job of an upload, at its end. */
export async function finished(upload: string): Promise<Job> {
  const { job } = await stateOf(upload);
  if (job === null) throw new Error(`${upload} has no job`);
  uploads.set(job, upload);
  return finishedJob(job);
}

/** The job at its end, however busy the machine is. */
export async function finishedJob(id: string): Promise<Job> {
  for (;;) {
    const job = await daemon<Job>(`/jobs/${id}`, { headers: { Prefer: "wait=25" } });
    if (job.finished_at !== null) return job;
  }
}

export const faults = (...list: { match: string; action: string; after?: number; times?: number }[]) =>
  control("PUT", "/test/faults", JSON.stringify(list));
/** Settings of the daemon from its next start on. */
export const settings = (values: Record<string, string>) => control("PUT", "/test/settings", JSON.stringify(values));
export const startDaemon = () => control("POST", "/test/start");
export const stopDaemon = () => control("POST", "/test/stop");

async function control(method: string, path: string, body: string | null = null): Promise<void> {
  const response = await fetch(proxyUrl + path, { method, body });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status}`);
}

/** What the proxy has seen since it was asked last. */
export async function seen(): Promise<string[]> {
  return (await fetch(`${proxyUrl}/test/seen`, { method: "DELETE" })).json();
}

/** One of bimg's photos. With salt behind its end it is another image to the daemon. */
export async function photo(name: string, salt = ""): Promise<ArrayBuffer> {
  const bytes = await (await fetch(`${proxyUrl}/test/photos/${name}`)).arrayBuffer();
  return new Blob([bytes, salt]).arrayBuffer();
}

export function lengthOf(body: ArrayBuffer): Record<string, string> {
  return { "Content-Length": String(body.byteLength) };
}

export async function sha256(bytes: ArrayBuffer): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Every file of the manifest that is in R2, by key; throws if one has other bytes than it should. */
export async function storedFiles(manifest: Manifest): Promise<string[]> {
  const stored: string[] = [];
  for (const { key, sha256: digest, content_type } of manifest.variants) {
    const object = await env.IMAGES.get(key);
    if (object === null) continue;
    if ((await sha256(await object.arrayBuffer())) !== digest)
      throw new Error(`${key} has other bytes than the manifest says`);
    if (object.httpMetadata?.contentType !== content_type) throw new Error(`${key} is not ${content_type}`);
    stored.push(key);
  }
  return stored;
}

/** Does what a daemon with storage.s3 at the Worker's bucket does: its files, and the manifest last. */
export async function copyToBucket(manifest: Manifest): Promise<void> {
  for (const { key, content_type } of manifest.variants) {
    const file = await fetch(`${proxyUrl}/files/${key}`, { headers: daemonAuthorization });
    if (!file.ok) throw new Error(`${key}: ${file.status}`);
    await env.IMAGES.put(key, await file.arrayBuffer(), { httpMetadata: { contentType: content_type } });
  }
  await env.IMAGES.put(`${manifest.id}/manifest.json`, JSON.stringify(manifest));
}

/** 7 widths in 3 formats. The daemon has it already after the first time. */
export const bird = "northern_cardinal_bird.jpg";

/** An image with all its 21 files in R2. */
export async function storedBird(worker: Worker): Promise<Manifest> {
  const { upload } = await worker.upload(await photo(bird), bird);
  const { image } = await stateOf(upload);
  if (image !== null) {
    await worker.drain();
    return daemon<Manifest>(`/v1/images/${image}`);
  }
  const job = await finished(upload);
  if (!job.output || !("manifest" in job.output)) throw new Error("no manifest");
  await worker.webhook(job);
  await worker.drain();
  return job.output.manifest;
}
