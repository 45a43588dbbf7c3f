import { hash } from "node:crypto";
import { version } from "../version.ts";

/** The last line of a chain: its number and its hash. */
export interface Head {
  readonly sequence: number;
  readonly hash: string;
}

/** Before a writer's first line. */
export const BEGINNING: Head = { sequence: 0, hash: "0".repeat(64) };

/** The end of each line. */
export interface Link {
  readonly writer: string;
  readonly sequence: number;
  readonly previous: string;
  readonly hash: string;
}

/** OCSF's own version, and who writes: the same in each line. */
const PRODUCT = `"version":"1.3.0","product":{"name":"Sluice","vendor_name":"Sluice","version":${JSON.stringify(version())}}`;
const HASH_FIELD = ',"hash":"'.length + 64 + '"}'.length;
const LINK =
  /"log_name":"([\w.-]+)","sequence":(\d{1,15})\},"prev_hash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}$/;
/** From "log_name" on, with a writer's name of at most 60 characters. */
const LONGEST_LINK = 320;

/**
 * Makes the next line of a chain out of `fields`, the text of a JSON object without its closing brace. It is
 * written into `into` at `at`, where `roomFor(fields)` bytes are free; `end` is the place behind it. The hash is
 * SHA-256 over the line's bytes up to `,"hash"`, and the hash of the line before is among them, so that nobody
 * needs a canonical form of JSON to check it.
 */
export function seal(
  fields: string,
  writer: string,
  head: Head,
  into: Buffer,
  at: number,
): { readonly end: number; readonly head: Head } {
  const sequence = head.sequence + 1;
  const metadata = `{${PRODUCT},"log_name":"${writer}","sequence":${sequence}}`;
  const middle = at + into.write(`${fields},"metadata":${metadata},"prev_hash":"${head.hash}"`, at);
  const digest = hash("sha256", into.subarray(at, middle), "hex");
  const end = middle + into.write(`,"hash":"${digest}"}\n`, middle, "latin1");
  return { end, head: { sequence, hash: digest } };
}

/** How many bytes the line of these fields takes at most: UTF-8 has three for one UTF-16 unit. */
export function roomFor(fields: string): number {
  return 3 * fields.length + PRODUCT.length + LONGEST_LINK;
}

/** Reads the end of a line (without its line feed); undefined when it is not one of ours. */
export function linkOf(line: Buffer): Link | undefined {
  const end = line.toString("latin1", Math.max(0, line.length - LONGEST_LINK));
  const [, writer, sequence, previous, hash] = LINK.exec(end) ?? [];
  if (writer === undefined || previous === undefined || hash === undefined) return undefined;
  return { writer, sequence: Number(sequence), previous, hash };
}

/** Whether the line still is what was hashed when it was written. */
export function isIntact(line: Buffer, link: Link): boolean {
  const hashed = line.subarray(0, line.length - HASH_FIELD);
  return hash("sha256", hashed, "hex") === link.hash;
}
