// The Worker's API, as used by this page.

import type { Image, ImageList, ProblemBody, Session, Upload, UploadAccepted } from "../api";
import { broken, unreachable } from "./words";

export type { Image };

/** A failed request, with a message for people. */
export class Refusal extends Error {
  constructor(
    /** 0: no response. */
    readonly status: number,
    message: string,
    /** Seconds, if the server sent Retry-After. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

export const getSession = () => request<Session>("GET", "/api/session");
export const signIn = (token: string) => request("POST", "/api/session", JSON.stringify({ token }));
export const signOut = () => request("DELETE", "/api/session");
export const getUpload = (id: string) => request<Upload>("GET", `/api/uploads/${encodeURIComponent(id)}`);
export const deleteImage = (id: string) => request("DELETE", `/api/images/${encodeURIComponent(id)}`);
export const listImages = (cursor: string | null) =>
  request<ImageList>("GET", cursor === null ? "/api/images" : `/api/images?cursor=${encodeURIComponent(cursor)}`);

async function request<T = unknown>(method: string, path: string, json?: string): Promise<T> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, {
      method,
      ...(json !== undefined && { body: json, headers: { "Content-Type": "application/json" } }),
    });
    text = await response.text();
  } catch {
    throw new Refusal(0, unreachable);
  }
  return answerOf<T>(response.status, text, response.headers.get("Retry-After"));
}

/** Sends a file with XMLHttpRequest, since fetch does not report upload progress. */
export function sendFile(file: File, onProgress: (sent: number) => void, signal: AbortSignal): Promise<UploadAccepted> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.upload.onprogress = (event) => onProgress(event.loaded);
    xhr.upload.onload = () => onProgress(file.size);
    xhr.onload = () => {
      try {
        resolve(answerOf<UploadAccepted>(xhr.status, xhr.responseText, xhr.getResponseHeader("Retry-After")));
      } catch (error) {
        reject(error);
      }
    };
    xhr.onerror = () => reject(new Refusal(0, unreachable));
    xhr.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => xhr.abort());
    xhr.open("POST", `/api/images?filename=${encodeURIComponent(file.name)}`);
    xhr.send(file);
  });
}

/** Parses a response. Anything except the API's JSON came from an intermediary. */
function answerOf<T>(status: number, text: string, retryAfter: string | null): T {
  let body: unknown;
  try {
    body = text === "" ? undefined : JSON.parse(text);
  } catch {
    throw new Refusal(status, broken(status));
  }
  if (status < 200 || status > 299) {
    const { detail } = (body ?? {}) as Partial<ProblemBody>;
    const seconds = Number(retryAfter ?? NaN);
    throw new Refusal(status, detail || broken(status), Number.isFinite(seconds) ? seconds : null);
  }
  return body as T;
}
