// The uploads that have not ended, in IndexedDB, so that they survive a reload.

import type { Parts } from "./api";

/** What an upload needs to go on. */
export interface Kept {
  key: number;
  name: string;
  size: number;
  /** Null once it is sent. */
  file: File | null;
  /** The Worker's; null until it is sent. */
  id: string | null;
  /** What has been sent of a large file. */
  parts: Parts | null;
  /** The sharing that it came by: any site can send such a form, so nobody may have chosen this. */
  shared?: string;
}

const store = "uploads";

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("gallery", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(store, { keyPath: "key" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Resolves to null where storage is disabled or full: then a reload forgets the list. */
async function using<T>(work: (uploads: IDBObjectStore) => IDBRequest<T>): Promise<T | null> {
  try {
    const database = await open();
    return await new Promise<T>((resolve, reject) => {
      const transaction = database.transaction(store, "readwrite");
      const request = work(transaction.objectStore(store));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    }).finally(() => database.close());
  } catch {
    return null;
  }
}

/** Whether it is stored now. */
export async function keep({ key, name, size, file, id, parts, shared }: Kept): Promise<boolean> {
  const kept: Kept = { key, name, size, file, id, parts, ...(shared !== undefined && { shared }) };
  return (await using((uploads) => uploads.put(kept))) !== null;
}

export async function drop({ key }: Kept): Promise<void> {
  await using((uploads) => uploads.delete(key));
}

/** All of them, in the order in which they are sent. */
export async function all(): Promise<Kept[]> {
  return (await using<Kept[]>((uploads) => uploads.getAll())) ?? [];
}

/** One of them, as it is now; undefined if it has ended, null if that cannot be read. */
export async function one({ key }: Kept): Promise<Kept | undefined | null> {
  return using<Kept | undefined>((uploads) => uploads.get(key));
}

/** Calls work as soon as no other tab has this upload. From then on this one has it, until it is closed. */
export function hold(key: number, work: () => void): void {
  const holding = () => {
    work();
    return new Promise(() => {});
  };
  // Plain http sites have no locks; they are refused where storage is disabled.
  if ("locks" in navigator) navigator.locks.request(`upload ${key}`, holding).catch(work);
  else work();
}
