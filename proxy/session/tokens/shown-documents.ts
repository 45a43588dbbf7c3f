import { type DocumentColumn, leavesOf } from "../../sql/tokens/documents.ts";
import { turnDocument } from "../../tokens/json-documents.ts";
import { MARKS } from "../../tokens/sealed.ts";
import { isSeen, type Reader, shownFor } from "./shown-values.ts";

/** The version of jsonb's binary format (jsonb_recv of adt/jsonb.c), which no text of a document begins with. */
export const JSONB_VERSION = 1;

/** What the client gets in place of a document with tokens; undefined: the document itself. */
export function shownDocument(
  reader: Reader,
  column: DocumentColumn,
  field: Buffer,
  index: number,
): Buffer | null | undefined {
  const seesAll = leavesOf(column).every((leaf) => isSeen(reader, leaf));
  if (seesAll && !field.includes(MARKS.token ?? "")) return undefined;
  const start = field[0] === JSONB_VERSION ? 1 : 0;
  const turned = turnDocument(field.toString("utf8", start), column.shape, {
    string: (value, leaf) => shownFor(reader, leaf, value, index),
    other: (leaf) => (isSeen(reader, leaf) ? undefined : null),
    misplaced: (shape) => (leavesOf({ shape }).every((leaf) => isSeen(reader, leaf)) ? undefined : null),
  });
  // What cannot be read may hold values that the role does not see.
  if ("fault" in turned) return seesAll ? undefined : null;
  return Buffer.concat([field.subarray(0, start), Buffer.from(turned.text)]);
}
