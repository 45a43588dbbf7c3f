import type { Source } from "../parse/source.ts";
import type { Edit } from "../verdict.ts";

export interface Rewritten {
  readonly sql: Buffer;
  /** In ascending order. */
  readonly edits: readonly Edit[];
}

/**
 * In ascending order. Insertions at the same position keep their order and come before a replacement at that position.
 */
export function inOrder<E extends Edit>(edits: readonly E[]): readonly E[] {
  return edits.toSorted((a, b) => a.at - b.at || a.end - b.end);
}

/**
 * Applies edits in order to the client's bytes; the rest of the text stays unchanged. Overlapping edits are a bug of
 * the analysis.
 */
export function applyEdits(source: Source, edits: readonly Edit[]): Rewritten {
  const made = applyInOrder(source.bytes, edits);
  // The result is kept: a slice of Node's pool would keep the whole pool in memory.
  const sql = Buffer.allocUnsafeSlow(made.length);
  made.copy(sql);
  return { sql, edits: edits.map(({ at, end, text }) => ({ at, end, text })) };
}

/** Applies edits that are in ascending order. */
export function applyInOrder(bytes: Buffer, edits: readonly Edit[]): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const edit of edits) {
    if (edit.at < at) throw new Error("two edits overlap");
    parts.push(bytes.subarray(at, edit.at), Buffer.from(edit.text));
    at = edit.end;
  }
  parts.push(bytes.subarray(at));
  return Buffer.concat(parts);
}

/** The position of each edit's text in the rewritten bytes. */
export function editedRanges(
  edits: readonly Edit[],
): readonly { readonly start: number; readonly end: number }[] {
  let shift = 0;
  return edits.map(({ at, end, text }) => {
    const length = Buffer.byteLength(text);
    const start = at + shift;
    shift += length - (end - at);
    return { start, end: start + length };
  });
}

/**
 * Maps offsets of the client's text to the new text; an offset that an edit replaces maps to the start of the edit's
 * text.
 */
export function movedOffsets(edits: readonly Edit[], offsets: ReadonlySet<number>): ReadonlySet<number> {
  const ranges = editedRanges(edits);
  const moved = [...offsets].map((offset) => {
    let shift = 0;
    for (const [index, { at, end }] of edits.entries()) {
      const range = ranges[index];
      if (range === undefined || at > offset || (at === offset && end > at)) break;
      shift = range.end - end;
    }
    return offset + shift;
  });
  return new Set(moved);
}
