import { BYTES_OF_UNNAMED } from "../../policy/prices.ts";
import type { Statement } from "../../sql/verdict.ts";
import { decodeError, type ErrorFields } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";

/*
 * Texts beside the rows: an error quotes the value that it is about, and code of one's own says what it likes in both errors
 * and notices. One error may hold a table. So they count by their size, as rows without names do.
 */

/**
 * Classes of SQLSTATE whose texts name objects, limits and states, and no stored value (Postgres docs, Appendix A). Code may
 * raise them with any text.
 */
const WITHOUT_VALUES: ReadonlySet<string> = new Set([
  ...["08", "0A", "25", "26", "28", "2D", "34", "3B", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"],
]);

/** How many people the text of an error shows at most. */
export function peopleInError(frame: Frame, fields: ErrorFields, statement: Statement): number {
  const { touch, metering, reads, writes, command } = statement;
  const code = fields.get("C") ?? "";
  if (touch?.session === true) return isPlain(statement) ? 0 : inPeople(sizeOf(frame, fields, OF_CODE));
  if (WITHOUT_VALUES.has(code.slice(0, 2))) return 0;
  if (metering === undefined && reads.length === 0 && writes.length === 0) return 0;
  // A key that exists already is quoted from what the client has sent itself.
  const isOwn = command === "INSERT" && code.startsWith("23") && reads.every((each) => writes.includes(each));
  if (isOwn) return 0;
  return inPeople(sizeOf(frame, fields, OF_SERVER));
}

/** How many people a notice shows at most: Postgres's own have no values. */
export function peopleInNotice(frame: Frame, { touch, metering }: Statement): number {
  if (touch?.session !== true || metering === undefined) return 0;
  return inPeople(sizeOf(frame, decodeError(frame), OF_CODE));
}

/** Message, detail, hint: what Postgres itself puts values into. */
const OF_SERVER = ["M", "D", "H"];
/** RAISE can set the others too; a query that was put together stands in the context. */
const OF_CODE = [...OF_SERVER, ..."Wqsctdn"];

/** Bytes of these fields; of a text that comes in pieces the whole length. */
function sizeOf(frame: Frame, fields: ErrorFields, counted: readonly string[]): number {
  if (frame.piece !== "whole") return frame.buffer.readInt32BE(frame.start + 1);
  return counted.reduce((size, field) => size + Buffer.byteLength(fields.get(field) ?? ""), 0);
}

/** SET and the like change the session, and run nothing. */
function isPlain({ kind, metering }: Statement): boolean {
  return metering === undefined && (kind === "session" || kind === "transaction");
}

function inPeople(bytes: number): number {
  return Math.ceil(bytes / BYTES_OF_UNNAMED);
}
