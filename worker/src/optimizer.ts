// Access to the daemon. No other file knows how it is reached.

import type { Job, Manifest } from "./api";
import type { Env } from "./env";
import { isJob, isManifest } from "./generated/validate";
import { digestHeader } from "./digest";
import { Problem, parseJSON, readText } from "./http";

/** For requests with a short response, ms. */
const askTimeout = 15_000;
const maxJSON = 1 << 20;

/** A failed request to the daemon. */
export class OptimizerError extends Error {
  constructor(
    /** HTTP status; 0 without a response. */
    readonly status: number,
    /** The daemon's code, or one of the Worker's. */
    readonly code: string,
    readonly detail: string,
    /** Seconds. */
    readonly retryAfter: number | null = null,
  ) {
    super(`optimizer: ${status} ${code}: ${detail}`);
  }

  /** Whether the daemon reported a permanent failure. */
  get permanent(): boolean {
    return ["not_found", "invalid_options", "invalid_request"].includes(this.code);
  }

  /** The problem for the Worker's client. */
  problem(): Problem {
    const passedOn = [400, 408, 413, 415, 422, 429, 507];
    const later = { "Retry-After": String(this.retryAfter ?? 30) };
    if (passedOn.includes(this.status)) {
      return new Problem(this.status, this.code, this.detail, [408, 429, 507].includes(this.status) ? later : {});
    }
    if (this.status === 403 || this.code === "bad_manifest") return new Problem(502, this.code, this.detail);
    return new Problem(503, "optimizer_unavailable", "The optimizer is unreachable; try again later.", later);
  }
}

/**
 * Sends a request to the daemon; path is absolute. Resolves to a 2xx response,
 * and throws OptimizerError otherwise.
 */
export async function optimizer(env: Env, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("Authorization", `Bearer ${env.OPTIMIZER_TOKEN ?? ""}`);
  let base = "http://optimizer";
  let send = (url: string, options: RequestInit) => fetch(url, options);
  if (env.OPTIMIZER) {
    const binding = env.OPTIMIZER;
    send = (url, options) => binding.fetch(url, options);
  } else {
    base = (env.OPTIMIZER_URL ?? "").replace(/\/+$/, "");
    if (env.ACCESS_CLIENT_ID && env.ACCESS_CLIENT_SECRET) {
      headers.set("CF-Access-Client-Id", env.ACCESS_CLIENT_ID);
      headers.set("CF-Access-Client-Secret", env.ACCESS_CLIENT_SECRET);
    }
  }
  let response: Response;
  try {
    // A redirect is Access' login page; the token must not be sent there.
    response = await send(base + path, { ...init, headers, redirect: "manual" });
  } catch (error) {
    throw new OptimizerError(0, "optimizer_unavailable", error instanceof Error ? error.message : String(error));
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response: Response): Promise<OptimizerError> {
  const { status } = response;
  const seconds = Number(response.headers.get("Retry-After"));
  const retryAfter = Number.isInteger(seconds) && seconds > 0 ? seconds : null;
  // A response sent before the request body was read may be truncated.
  const body = parseJSON((await readText(response, maxJSON).catch(() => null)) ?? "");
  if (status === 401 || status === 403 || (status >= 300 && status < 400)) {
    return new OptimizerError(403, "optimizer_refused", "The optimizer refuses this Worker; check its tokens.");
  }
  if (typeof body === "object" && body !== null && "code" in body && typeof body.code === "string") {
    const detail = "detail" in body && typeof body.detail === "string" ? body.detail : "";
    return new OptimizerError(status, body.code, detail, retryAfter);
  }
  if (status === 413) return new OptimizerError(status, "too_large", "The image is too large for the optimizer.");
  return new OptimizerError(status, "optimizer_unavailable", "The response is not from the optimizer.", retryAfter);
}

/** Parses and validates the JSON of a response. */
export async function checked<T>(response: Response, check: (data: unknown) => data is T): Promise<T> {
  const text = await readText(response, maxJSON).catch(() => {
    throw new OptimizerError(0, "optimizer_unavailable", "The response was truncated.");
  });
  const data = parseJSON(text ?? "");
  if (!check(data)) throw new OptimizerError(502, "optimizer_unavailable", "Unexpected response from the optimizer.");
  return data;
}

/** Returns the state of a job, after waiting for its end for at most wait seconds. */
export async function getJob(env: Env, id: string, wait = 0): Promise<Job> {
  const response = await optimizer(env, `/jobs/${id}`, {
    headers: wait > 0 ? { Prefer: `wait=${wait}` } : {},
    signal: AbortSignal.timeout(askTimeout + wait * 1000),
  });
  return checked(response, isJob);
}

export async function postJob(env: Env, request: Pick<Job, "input" | "options">): Promise<Job> {
  const response = await optimizer(env, "/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(askTimeout),
  });
  return checked(response, isJob);
}

export async function deleteImage(env: Env, id: string): Promise<void> {
  const response = await optimizer(env, `/v1/images/${id}`, {
    method: "DELETE",
    signal: AbortSignal.timeout(askTimeout),
  });
  await response.body?.cancel();
}

/** For a complete upload, ms. */
const uploadTimeout = 5 * 60_000;

/** Uploads an image; returns its manifest, or the job that makes it. sha256 is in hex. */
export async function postImage(
  env: Env,
  body: ReadableStream,
  sha256: string | null,
  query: URLSearchParams,
): Promise<Job | Manifest> {
  const response = await optimizer(env, `/v1/images?${query}`, {
    method: "POST",
    headers: {
      // Never the client's type: a form would be parsed.
      "Content-Type": "application/octet-stream",
      Prefer: "respond-async",
      ...(sha256 !== null && { "Content-Digest": digestHeader(sha256) }),
    },
    body,
    signal: AbortSignal.timeout(uploadTimeout),
  });
  return response.status === 202 ? checked(response, isJob) : checked(response, isManifest);
}

/** Whether the daemon answers. */
export async function isReachable(env: Env): Promise<boolean> {
  try {
    const response = await optimizer(env, "/healthz", { signal: AbortSignal.timeout(askTimeout) });
    await response.body?.cancel();
    return true;
  } catch {
    return false;
  }
}
