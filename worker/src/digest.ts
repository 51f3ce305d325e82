// Content-Digest headers (RFC 9530). Elsewhere digests are in hex.

/** Returns the SHA-256 of a Content-Digest header; null if it has none, undefined if it is malformed. */
export function parseDigest(header: string | null): string | null | undefined {
  if (header === null) return null;
  const [, value] = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:,|$)/.exec(header) ?? [];
  return value && [...atob(value)].map((char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

export function digestHeader(sha256: string): string {
  const bytes = (sha256.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
  return `sha-256=:${btoa(String.fromCharCode(...bytes))}:`;
}
