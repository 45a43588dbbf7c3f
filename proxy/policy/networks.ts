import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import type { Network } from "./policy.ts";

export type ParsedNetwork =
  | { readonly ok: true; readonly network: Network; readonly range: Range }
  | { readonly ok: false; readonly problem: string; readonly hint: string };

/** First and last address of a network as numbers, to test two networks for overlap. */
export interface Range {
  readonly family: "ipv4" | "ipv6";
  readonly first: bigint;
  readonly last: bigint;
}

/** Reads `10.2.0.0/16`, `2001:db8::/32` or a single address. */
export function parseNetwork(text: string): ParsedNetwork {
  const [address = "", prefixText, ...more] = text.split("/");
  const family = isIPv4(address) ? "ipv4" : isIPv6(address) && !address.includes("%") ? "ipv6" : undefined;
  const hint = "A network in CIDR form, as in 10.2.0.0/16 or 2001:db8::/32, or one address.";
  if (family === undefined || more.length > 0)
    return { ok: false, problem: `"${text}" is not a network`, hint };
  const width = family === "ipv4" ? 32 : 128;
  if (prefixText !== undefined && (!/^\d{1,3}$/.test(prefixText) || Number(prefixText) > width)) {
    return {
      ok: false,
      problem: `"/${prefixText}" is not a prefix length of ${address}`,
      hint: `From /0 to /${width}.`,
    };
  }
  const prefix = prefixText === undefined ? width : Number(prefixText);
  const value = addressNumber(address, family);
  const hostBits = (1n << BigInt(width - prefix)) - 1n;
  if ((value & hostBits) !== 0n) {
    const network = formatAddress(value & ~hostBits, family);
    return {
      ok: false,
      problem: `"${text}" has bits set to the right of its prefix`,
      hint: `The network is ${network}/${prefix}, the address alone ${address}.`,
    };
  }
  // BlockList also matches IPv4-mapped IPv6 addresses (::ffff:10.2.3.4) with IPv4 networks.
  const list = new BlockList();
  list.addSubnet(address, prefix, family);
  return {
    ok: true,
    network: { text, contains: (candidate) => contains(list, candidate) },
    range: { family, first: value, last: value | hostBits },
  };
}

/** Whether two networks have an address in common. */
export function rangesOverlap(a: Range, b: Range): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

function contains(list: BlockList, candidate: string): boolean {
  // Link-local addresses include their zone: fe80::1%eth0.
  const address = candidate.split("%")[0] ?? "";
  const version = isIP(address);
  return version !== 0 && list.check(address, version === 4 ? "ipv4" : "ipv6");
}

function addressNumber(address: string, family: "ipv4" | "ipv6"): bigint {
  if (family === "ipv4") return address.split(".").reduce((value, part) => (value << 8n) | BigInt(part), 0n);
  // The URL parser writes any IPv6 address as groups of hexadecimal digits (WHATWG URL, "IPv6 serializer").
  const groups = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = "", tail] = groups.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right].reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

function formatAddress(value: bigint, family: "ipv4" | "ipv6"): string {
  if (family === "ipv4") return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}
