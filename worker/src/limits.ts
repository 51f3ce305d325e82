// Rate limits by address. Cloudflare counts in each of its locations separately.

/** Whether this address may do it once more, by a limit of its own. */
export async function isWithin(limit: RateLimit, request: Request): Promise<boolean> {
  const { success } = await limit.limit({ key: visitorOf(request.headers.get("CF-Connecting-IP") ?? "") });
  return success;
}

/**
 * Returns what stands for a visitor: an IPv4 address, or the /64 of an IPv6
 * address, since one connection has a /64 to itself.
 */
export function visitorOf(address: string): string {
  if (!URL.canParse(`http://[${address}]`)) return address;
  const written = new URL(`http://[${address}]`).hostname.slice(1, -1);
  if (written.startsWith("::ffff:")) return written; // IPv4 in IPv6
  const [left = [], right = []] = written.split("::").map((side) => side.split(":").filter((group) => group !== ""));
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  return `${[...left, ...zeros, ...right].slice(0, 4).join(":")}::/64`;
}
