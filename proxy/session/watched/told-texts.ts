import { BYTES_OF_UNNAMED } from "../../policy/price-units.ts";
import type { Statement } from "../../sql/verdict.ts";
import { decodeError, type ErrorFields } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";

/*
 * Texts beside the rows: an error quotes the value that it is about, and code of one's own says what it likes in both errors
 * and notices. One text may hold a table. So they count by their size, as rows without names do, unless it is certain
 * that nothing stored is in them.
 */

/** The text of an error or notice, and the message that it came in. */
export interface Told {
  readonly frame: Frame;
  readonly fields: ErrorFields;
}

/**
 * Classes of SQLSTATE whose texts are always the same, but for the names of tables and programs (Postgres docs, Appendix A).
 * Code may raise them with any text.
 */
const FIXED: ReadonlySet<string> = new Set(["25", "28", "2D", "40", "53", "54", "57"]);
/** Texts of other classes that name a table at most: no permission for it, a lock on it that is held, a state it is not in. */
const FIXED_CODES: ReadonlySet<string> = new Set(["42501", "55P03", "55006", "55000"]);
/** Classes whose texts have a value in them only where they quote one. */
const QUOTING: ReadonlySet<string> = new Set(["0A", "26", "34", "3B", "3D", "3F"]);

/** How many people the error of a statement that has run shows at most. */
export function peopleInError({ frame, fields }: Told, statement: Statement): number {
  if (isAboutTheText(fields)) return 0;
  const code = fields.get("C") ?? "";
  const whole = frame.piece === "whole";
  if (!isOfCode(fields, statement)) {
    if (readsNothing(statement) || (whole && isOwn(code, statement))) return 0;
    if (whole && isFixed(code, fields)) return tells(code, fields, statement) ? 1 : 0;
    return inPeople(sizeOf(frame, fields, OF_SERVER));
  }
  return inPeople(sizeOf(frame, fields, OF_CODE));
}

/**
 * The same of a Bind: the planner runs functions that are said to be immutable or stable. What it says otherwise is about
 * constants and parameters.
 */
export function peopleInPlanning({ frame, fields }: Told): number {
  if (isAboutTheText(fields) || isPlace(fields.get("W"))) return 0;
  return inPeople(sizeOf(frame, fields, OF_CODE));
}

/** The same of a notice. `text`: the client's. Where the statement shows no one, short ones of triggers are free. */
export function peopleInNotice(frame: Frame, { metering }: Statement, text: Buffer): number {
  const fields = decodeError(frame);
  if (fields.get("C") === NAME_TOO_LONG && isNamedIn(text, fields.get("M") ?? "")) return 0;
  if (metering !== undefined) return inPeople(sizeOf(frame, fields, OF_CODE));
  if (frame.piece === "whole" && isPlace(fields.get("W"))) return 0;
  return Math.floor(sizeOf(frame, fields, OF_SERVER) / BYTES_OF_UNNAMED);
}

/**
 * It points at a place in the client's own text: the analysis said so, before anything ran. Texts that code puts together have
 * places of their own, or a context (Postgres docs, "Error and Notice Message Fields": P, q and W).
 */
function isAboutTheText(fields: ErrorFields): boolean {
  return (fields.get("P") ?? "0") !== "0" && !fields.has("q") && !fields.has("W");
}

/** Code may have said it: functions, triggers, DO. */
function isOfCode(fields: ErrorFields, { touch, kind, metering }: Statement): boolean {
  const isSetting = metering === undefined && (kind === "session" || kind === "transaction");
  return (touch?.session === true && !isSetting) || !isPlace(fields.get("W"));
}

/**
 * Contexts that say where the server was when nothing but the statement itself ran. (Each function of another language adds
 * a line, and so does the text of a type that could not be read.)
 */
const PLACES =
  /^(?:while (?:updating|deleting|locking|inserting|checking|rechecking) .*|(?:unnamed portal|portal ".*") parameter \$\d+.*|COPY .*)$/s;

function isPlace(context: string | undefined): boolean {
  return context === undefined || context.split("\n").every((line) => PLACES.test(line));
}

function isFixed(code: string, fields: ErrorFields): boolean {
  const kind = code.slice(0, 2);
  if (FIXED.has(kind) || FIXED_CODES.has(code)) return true;
  return QUOTING.has(kind) && !["M", "D", "H"].some((field) => fields.get(field)?.includes('"') === true);
}

/**
 * Whether it has failed, and not how, may be the answer to a condition (`CASE WHEN email LIKE 'a%' THEN repeat('x', 2000000000)`).
 * What others cause as well is free: deadlocks, locks, time limits.
 */
function tells(code: string, fields: ErrorFields, { metering, copies }: Statement): boolean {
  if ((metering === undefined && copies === undefined) || CAUSED.has(code.slice(0, 2))) return false;
  if (CAUSED_CODES.has(code)) return false;
  return code !== "42501" || !BEFORE_IT_RUNS.test(fields.get("M") ?? "");
}

const CAUSED: ReadonlySet<string> = new Set(["40", "57"]);
/** A lock that is held, a transaction that has failed before. */
const CAUSED_CODES: ReadonlySet<string> = new Set(["55P03", "25P02"]);
/** Of sequences and large objects it is found out when a value is computed. */
const BEFORE_IT_RUNS = /^permission denied for (?!sequence|large object)/;

/** Values that the client has sent itself: of a key that exists already, or of a line that cannot be read. */
function isOwn(code: string, { ownValues }: Statement): boolean {
  return ownValues === true && (code.startsWith("22") || code.startsWith("23"));
}

/** SET and the like. The end of a transaction runs what was put off: constraints, triggers, cursors that are to be held. */
function readsNothing({ command, kind, metering, reads, writes }: Statement): boolean {
  const isLate = ENDS.has(command) || command === "SET CONSTRAINTS";
  return (
    !isLate && metering === undefined && (kind === "session" || (reads.length === 0 && writes.length === 0))
  );
}

const ENDS: ReadonlySet<string> = new Set(["COMMIT", "PREPARE TRANSACTION"]);

/** ERRCODE_NAME_TOO_LONG: `identifier "…" will be truncated to "…"`. */
const NAME_TOO_LONG = "42622";

/** Whether the name stands in the text: there are no quotes but the message's own four. */
function isNamedIn(text: Buffer, message: string): boolean {
  const parts = message.split('"');
  return parts.length === 5 && text.includes(parts[1] ?? "");
}

/** Message, detail, hint: what Postgres itself puts values into. */
const OF_SERVER = ["M", "D", "H"];
/** RAISE can set the others too; a query that was put together stands in the context. */
const OF_CODE = [...OF_SERVER, "W", ..."qsctdn"];

/** Bytes of these fields; of a text that comes in pieces the whole length. */
function sizeOf(frame: Frame, fields: ErrorFields, counted: readonly string[]): number {
  if (frame.piece !== "whole") return frame.buffer.readInt32BE(frame.start + 1);
  return counted.reduce((size, field) => size + Buffer.byteLength(fields.get(field) ?? ""), 0);
}

function inPeople(bytes: number): number {
  return Math.ceil(bytes / BYTES_OF_UNNAMED);
}
