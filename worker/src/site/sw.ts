// The service worker: keeps the images that a phone shares with the installed gallery, in
// the page's list of uploads. That sends them, or asks to sign in first. Its scope is the one
// path for this, so that it has no part in anything else, and it caches nothing.

import { keep } from "./kept";

/** TypeScript has either the types of a page or those of a worker. */
interface FetchEvent extends Event {
  request: Request;
  respondWith(response: Promise<Response>): void;
}
declare function skipWaiting(): Promise<void>;

addEventListener("install", () => void skipWaiting());
addEventListener("fetch", (event) => {
  const { request } = event as FetchEvent;
  if (request.method === "POST") (event as FetchEvent).respondWith(receive(request));
});

async function receive(request: Request): Promise<Response> {
  const shared = crypto.randomUUID();
  const isKept = await keepAll(request, shared).catch(() => false);
  return Response.redirect(`/?shared=${isKept ? shared : "failed"}`, 303);
}

/** Whether all images of the form are kept. */
async function keepAll(request: Request, shared: string): Promise<boolean> {
  const form = await request.formData();
  const files = form.getAll("images").filter((value) => value instanceof File);
  // Their order is that of their keys, and the last is sent first, as in upload.ts.
  const last = Date.now() + files.length;
  const kept = await Promise.all(
    files.map((file, n) => {
      return keep({ key: last - n, name: file.name, size: file.size, file, id: null, parts: null, shared });
    }),
  );
  return kept.length > 0 && kept.every(Boolean);
}
