// Content-Digest headers (RFC 9530). Elsewhere digests are in hex.

/** Returns the SHA-256 of a Content-Digest header; null if it has none, undefined if it is malformed. */
export function parseDigest(header: string | null): string | null | undefined {
  if (header === null) return null;
  const [, value] = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:,|$)/.exec(header) ?? [];
  return value && toHex(Uint8Array.from(atob(value), (char) => char.charCodeAt(0)));
}

export function digestHeader(sha256: string): string {
  return `sha-256=:${btoa(String.fromCharCode(...fromHex(sha256)))}:`;
}

export function toHex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
