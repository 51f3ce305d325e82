// Images that are shared with the installed gallery from another app of the phone (Android).

/** The sharing that opened this page, or "failed"; null if it was opened otherwise. Removes it from the address. */
export function sharing(): string | null {
  const shared = new URLSearchParams(location.search).get("shared");
  if (shared === null) return null;
  history.replaceState(history.state, "", location.pathname + location.hash);
  return shared;
}

/** Whether this is the window of the installed gallery, which apps share with. Sites open tabs. */
export const isInstalled = () => matchMedia("(display-mode: standalone)").matches;

let isReceiving = false;

/** Has the service worker keep what is shared from now on, where the browser has such. */
export function receiveShares(): void {
  if (isReceiving || !("serviceWorker" in navigator)) return;
  isReceiving = true;
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  const policy = trustedTypes?.createPolicy("service-worker", { createScriptURL: () => "/sw.js" });
  navigator.serviceWorker
    .register(policy?.createScriptURL("") ?? "/sw.js", { scope: "/share", updateViaCache: "none" })
    .then((registration) => registration.update())
    // Refused in some private windows; then the Worker answers.
    .catch(() => undefined);
}

/** What the page uses of the browser's API, which TypeScript does not know yet. */
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(): string }): { createScriptURL(url: string): string };
}
