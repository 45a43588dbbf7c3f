import { type Frame, ProtocolViolation } from "./frames.ts";
import { BodyReader } from "./messages.ts";

/**
 * Reads and removes the fields that a rewrite appended to a target list. Nothing is copied: the message is shortened in
 * the buffer in which it arrived.
 */

/** Removes the last `count` fields of a RowDescription, in place; returns the offset of its new end. */
export function trimRowDescription(frame: Frame, count: number): number {
  const { buffer, start } = frame;
  const body = new BodyReader(frame, "RowDescription");
  const fields = body.uint16();
  checkCount(fields, count);
  let end = body.at;
  for (let i = 0; i < fields; i++) {
    if (i === fields - count) end = body.at;
    body.skipString();
    // Table oid, column number, type oid, size, modifier, format.
    body.skip(18);
  }
  if (count === 0) end = body.at;
  body.finish();
  shorten(buffer, start, end, fields - count);
  return end;
}

/** The server's information on a field's source. */
export interface FieldOrigin {
  /** 0 unless the field is a plain copy of a table's, or a view's, column. */
  readonly table: number;
  /** pg_attribute.attnum: negative for system columns, 0 for a whole row. */
  readonly column: number;
}

/** The sources of all fields of a RowDescription except the last `count`. */
export function fieldOrigins(frame: Frame, count: number): readonly FieldOrigin[] {
  const body = new BodyReader(frame, "RowDescription");
  const fields = body.uint16();
  checkCount(fields, count);
  const origins: FieldOrigin[] = [];
  for (let i = 0; i < fields; i++) {
    body.skipString();
    const { at } = body;
    // Type oid, size, modifier, format.
    body.skip(18);
    if (i < fields - count)
      origins.push({ table: frame.buffer.readUInt32BE(at), column: frame.buffer.readInt16BE(at + 4) });
  }
  body.finish();
  return origins;
}

/** The number of fields of a RowDescription or DataRow. */
export function fieldCount(frame: Frame): number {
  if (frame.end - frame.start < HEADER) throw new ProtocolViolation("invalid row message");
  return frame.buffer.readUInt16BE(frame.start + 5);
}

/**
 * Appends the text of the last `count` fields of a DataRow to `into`, "" for NULL. The fields are of type text, in
 * UTF-8, whose bytes are the same in both formats.
 */
export function readTrailingFields(frame: Frame, count: number, into: string[]): void {
  const { buffer, end } = frame;
  let at = skipFields(frame, fieldCount(frame) - count);
  for (let i = 0; i < count; i++) {
    const length = fieldLength(buffer, at, end);
    into.push(length === -1 ? "" : buffer.toString("utf8", at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  if (at !== end) throw invalidRow();
}

/** Removes the last `count` fields of a DataRow, in place; returns the offset of its new end. */
export function trimDataRow(frame: Frame, count: number): number {
  const { buffer, start } = frame;
  const fields = fieldCount(frame) - count;
  const end = skipFields(frame, fields);
  shorten(buffer, start, end, fields);
  return end;
}

/** Type byte, length word, field count. */
const HEADER = 7;

/** The offset after the first `fields` fields. */
function skipFields(frame: Frame, fields: number): number {
  if (fields < 0 || frame.piece !== "whole") throw invalidRow();
  const { buffer, end } = frame;
  let at = frame.start + HEADER;
  for (let i = 0; i < fields; i++) at += 4 + Math.max(fieldLength(buffer, at, end), 0);
  return at;
}

/** The length word of the field at `at`, -1 for NULL; checks that the field ends inside the message. */
function fieldLength(buffer: Buffer, at: number, end: number): number {
  if (at + 4 > end) throw invalidRow();
  const length = buffer.readInt32BE(at);
  if (length < -1 || at + 4 + length > end) throw invalidRow();
  return length;
}

function shorten(buffer: Buffer, start: number, end: number, fields: number): void {
  buffer.writeInt32BE(end - start - 1, start + 1);
  buffer.writeUInt16BE(fields, start + 5);
}

function checkCount(fields: number, count: number): void {
  if (count > fields) throw new ProtocolViolation("a result without the fields that were added to it");
}

function invalidRow(): ProtocolViolation {
  return new ProtocolViolation("invalid DataRow message");
}
