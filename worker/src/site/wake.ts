// Keeps the screen on while images are sent: a phone that locks itself cuts the
// connection.

/** Keeps the screen on, where the browser can, until the returned function is called. */
export function stayAwake(): () => void {
  let lock: WakeLockSentinel | null = null;
  let ended = false;
  const ask = async () => {
    // The browser releases the lock when the page is hidden.
    if (document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    // Refused when the battery is low, for example.
    lock = await navigator.wakeLock.request("screen").catch(() => null);
    if (ended) await lock?.release();
  };
  const again = () => void ask();
  document.addEventListener("visibilitychange", again);
  void ask();
  return () => {
    ended = true;
    document.removeEventListener("visibilitychange", again);
    void lock?.release();
  };
}
