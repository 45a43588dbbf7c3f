import { editedRanges } from "./emit/rewrite.ts";
import type { Edit } from "./verdict.ts";

/**
 * Maps an error position in the rewritten text, as the server reports it (1-based, in characters), to the client's
 * text. A position inside injected text becomes the position of the injection.
 */
export function mapPosition(
  client: Buffer,
  rewritten: Buffer,
  edits: readonly Edit[],
  position: number,
): number | undefined {
  const byte = byteOffset(rewritten, position - 1);
  if (byte === undefined) return undefined;
  const ranges = editedRanges(edits);
  let shift = 0;
  for (const [index, edit] of edits.entries()) {
    const range = ranges[index];
    if (range === undefined || byte < range.start) break;
    if (byte < range.end) return characters(client, edit.at) + 1;
    shift = range.end - edit.end;
  }
  return characters(client, Math.min(byte - shift, client.length)) + 1;
}

/** The position of a byte as errors report it: 1-based, in characters. */
export function characterAt(text: Buffer, byte: number): number {
  return characters(text, Math.min(byte, text.length)) + 1;
}

/** Offset of the nth character (code point) of UTF-8 bytes. */
function byteOffset(text: Buffer, count: number): number | undefined {
  let seen = 0;
  for (let at = 0; at < text.length; at++) {
    if (((text[at] ?? 0) & 0xc0) === 0x80) continue;
    if (seen === count) return at;
    seen++;
  }
  return seen === count ? text.length : undefined;
}

function characters(text: Buffer, end: number): number {
  let seen = 0;
  for (let at = 0; at < end; at++) if (((text[at] ?? 0) & 0xc0) !== 0x80) seen++;
  return seen;
}
