// The Worker's API, as used by this page.

import type {
  Image,
  ImageList,
  Invite,
  InviteList,
  NewInvite,
  ProblemBody,
  Remake,
  Session,
  SignedLink,
  Trash,
  TrashedImage,
  Upload,
  UploadAccepted,
  UploadParts,
  Words,
} from "../api";
import { broken, signedOut, unreachable } from "./words";

export type { Image, Invite, Remake, TrashedImage, Words };

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
export const retryUpload = (id: string) => request("POST", `/api/uploads/${encodeURIComponent(id)}/retry`);
export const deleteImage = (id: string) => asOwner("DELETE", `/api/images/${encodeURIComponent(id)}`);
export const trashImage = (id: string) => asOwner("POST", `/api/images/${encodeURIComponent(id)}/trash`);
export const restoreImage = (id: string) => asOwner<Image>("POST", `/api/images/${encodeURIComponent(id)}/restore`);
export const listTrash = (cursor: string | null) =>
  asOwner<Trash>("GET", `/api/trash?cursor=${encodeURIComponent(cursor ?? "")}`);
export const getImage = (id: string) => request<Image>("GET", `/api/images/${encodeURIComponent(id)}`);
export const listInvites = () => asOwner<InviteList>("GET", "/api/invites");
export const createInvite = (name: string, days: number) =>
  asOwner<NewInvite>("POST", "/api/invites", JSON.stringify({ name, days }));
export const revokeInvite = (id: string) => asOwner("DELETE", `/api/invites/${encodeURIComponent(id)}`);
export const getRemake = () => asOwner<Remake>("GET", "/api/remake");
export const startRemake = () => asOwner<Remake>("POST", "/api/remake");
export const signLink = (id: string) => asOwner<SignedLink>("POST", `/api/images/${encodeURIComponent(id)}/link`);
export const writeWords = (id: string, words: Words) =>
  asOwner<Image>("PATCH", `/api/images/${encodeURIComponent(id)}`, JSON.stringify(words));

/** tag: only those of an album. q: only those with these words; "" for all. */
export function listImages(cursor: string | null, tag: string | null, q: string): Promise<ImageList> {
  const query = new URLSearchParams({ view: "compact" });
  if (cursor !== null) query.set("cursor", cursor);
  if (tag !== null) query.set("tag", tag);
  if (q !== "") query.set("q", q);
  return request<ImageList>("GET", `/api/images?${query}`);
}

/** Asks to sign in; resolves to whether that was done. */
let askToSignIn = (): Promise<boolean> => Promise.resolve(false);

/** Has the page ask to sign in when the session has ended. */
export function whenSignedOut(ask: () => Promise<boolean>): void {
  askToSignIn = ask;
}

/** A request of the owner's. If the session has ended it is made again after signing in, so that nothing has to be. */
async function asOwner<T = unknown>(method: string, path: string, json?: string): Promise<T> {
  try {
    return await request<T>(method, path, json);
  } catch (error) {
    if (!(error instanceof Refusal && error.status === 401)) throw error;
    if (await askToSignIn()) return request<T>(method, path, json);
    throw new Refusal(401, signedOut);
  }
}

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

/** What has been sent of a large file. */
export interface Parts extends UploadParts {
  etags: string[];
}

/** What happens while a file is sent. */
export interface Sending {
  progress(sent: number): void;
  /** After each part of a large file; null if it has to begin again. */
  partSent(parts: Parts | null): void;
}

/** Larger files are sent in parts, so that a lost connection costs one part at most. */
const inOnePiece = 8 << 20;

/** Sends a file, or what is missing of it. */
export async function sendFile(
  file: File,
  sent: Parts | null,
  on: Sending,
  signal: AbortSignal,
): Promise<UploadAccepted> {
  if (file.size > inOnePiece) return sendParts(file, sent, on, signal);
  const path = `/api/images?filename=${encodeURIComponent(file.name)}`;
  return sendBody<UploadAccepted>("POST", path, file, await digestOf(file), on.progress, signal);
}

async function sendParts(file: File, sent: Parts | null, on: Sending, signal: AbortSignal): Promise<UploadAccepted> {
  const begin = { filename: file.name, bytes: file.size };
  const parts = sent ?? { ...(await request<UploadParts>("POST", "/api/uploads", JSON.stringify(begin))), etags: [] };
  const path = `/api/uploads/${parts.upload}`;
  try {
    while (parts.etags.length < parts.parts) {
      const from = parts.etags.length * parts.part_bytes;
      const part = file.slice(from, from + parts.part_bytes);
      const progress = (sent: number) => on.progress(from + sent);
      const url = `${path}/${parts.etags.length + 1}`;
      parts.etags.push((await sendBody<{ etag: string }>("PUT", url, part, {}, progress, signal)).etag);
      on.partSent(parts);
    }
    return await request<UploadAccepted>("POST", path, JSON.stringify({ etags: parts.etags }));
  } catch (error) {
    // The Worker no longer has these parts.
    if (error instanceof Refusal && (error.status === 404 || error.status === 409)) {
      on.partSent(null);
      throw new Refusal(409, error.message);
    }
    throw error;
  }
}

/** Lets the Worker check what arrives. (Plain http sites have no crypto.subtle.) */
async function digestOf(file: File): Promise<Record<string, string>> {
  if (!globalThis.crypto?.subtle) return {};
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return { "Content-Digest": `sha-256=:${btoa(String.fromCharCode(...new Uint8Array(digest)))}:` };
}

/** Uses XMLHttpRequest, since fetch does not report upload progress. */
function sendBody<T>(
  method: string,
  path: string,
  body: Blob,
  headers: Record<string, string>,
  progress: (sent: number) => void,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.upload.onprogress = (event) => progress(event.loaded);
    xhr.upload.onload = () => progress(body.size);
    xhr.onload = () => {
      try {
        resolve(answerOf<T>(xhr.status, xhr.responseText, xhr.getResponseHeader("Retry-After")));
      } catch (error) {
        reject(error);
      }
    };
    xhr.onerror = () => reject(new Refusal(0, unreachable));
    xhr.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => xhr.abort());
    xhr.open(method, path);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.send(body);
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
