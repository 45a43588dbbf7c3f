import type { TokenColumn, TokenColumns } from "../../sql/tokens/token-columns.ts";
import { readBytesField } from "../../tokens/byte-values.ts";
import { MARKS } from "../../tokens/sealed.ts";
import type { Frame } from "../../wire/frames.ts";
import type { FieldOrigin } from "../../wire/rows.ts";
import { shownDocument } from "./shown-documents.ts";
import { type Reader, shownFor } from "./shown-values.ts";

/* Rows on their way to the client: tokens of columns that are known by lineage are turned back, or masked. */

/** By the position of a field. */
export type FieldColumns = readonly (TokenColumn | undefined)[];

/** The token columns among the fields of a RowDescription: by the analysis of the text, or as the server names them. */
export function fieldColumns(
  origins: readonly FieldOrigin[],
  columns: TokenColumns,
  outputs: FieldColumns,
): FieldColumns {
  return origins.map(
    ({ table, column }, index) =>
      outputs[index] ?? (table === 0 ? undefined : columns.ofAttribute(table, column)),
  );
}

export function hasTokens(fields: FieldColumns): boolean {
  return fields.some((column) => column !== undefined);
}

/** Type byte, length word, field count. */
const HEADER = 7;

/** The row with its tokens turned: always a message of its own. */
export function turnRow(frame: Frame, fields: FieldColumns, reader: Reader): Buffer {
  const { buffer, start, end } = frame;
  const parts: Buffer[] = [buffer.subarray(start, start + HEADER)];
  let [at, kept] = [start + HEADER, start + HEADER];
  const count = buffer.readUInt16BE(start + 5);
  for (let index = 0; index < count; index++) {
    const length = buffer.readInt32BE(at);
    const [from, to] = [at + 4, at + 4 + Math.max(length, 0)];
    const column = fields[index];
    if (column !== undefined && length >= 0 && mayBeToken(buffer, from, to, column)) {
      const shown = shownField(reader, column, buffer.subarray(from, to), index);
      if (shown !== undefined) {
        parts.push(buffer.subarray(kept, at), field(shown));
        kept = to;
      }
    }
    at = to;
  }
  parts.push(buffer.subarray(kept, end));
  const made = Buffer.concat(parts);
  made.writeInt32BE(made.length - 1, 1);
  return made;
}

/** The same for a field as the server gave it. */
export function shownField(
  reader: Reader,
  column: TokenColumn,
  field: Buffer,
  index: number,
): Buffer | null | undefined {
  if (column.form === "document") return shownDocument(reader, column, field, index);
  if (column.form !== "bytes") {
    const shown = shownFor(reader, column, field.toString("latin1"), index);
    return typeof shown === "string" ? Buffer.from(shown) : shown;
  }
  const found = readBytesField(field);
  const shown = found && shownFor(reader, column, found.token, index);
  return found !== undefined && typeof shown === "string" ? found.write(shown) : (shown as null | undefined);
}

function mayBeToken(buffer: Buffer, from: number, to: number, { form }: TokenColumn): boolean {
  // In text and in binary format they begin in other ways.
  if (form === "bytes" || form === "document") return true;
  const mark = MARKS[form];
  if (mark === undefined) return true;
  return to - from >= mark.length && buffer.toString("latin1", from, from + mark.length) === mark;
}

function field(value: Buffer | null): Buffer {
  const bytes = value ?? Buffer.alloc(0);
  const made = Buffer.allocUnsafe(4 + bytes.length);
  made.writeInt32BE(value === null ? -1 : bytes.length);
  bytes.copy(made, 4);
  return made;
}
