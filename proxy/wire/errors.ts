import { type Frame, ProtocolViolation } from "./frames.ts";
import { Backend, BodyReader, cstring, message } from "./messages.ts";
import type { Refusal } from "./refusal.ts";

/** Fields by their one-letter codes (Postgres docs, "Error and Notice Message Fields"). */
export type ErrorFields = ReadonlyMap<string, string>;

/** A longer error is handed out in pieces: it may quote a value that did not fit, which may have a gigabyte. */
const LONGEST = 64 * 1024;

/** Whether a server message is an error or notice so long that only its beginning is read. */
export function isLongError(type: number, length: number): boolean {
  return isError(type) && length > LONGEST;
}

/** Whether a message that is not a row may be long: an error, a notice, or a function's result (large objects). */
export function isLongAnswer(type: number, length: number): boolean {
  return length > LONGEST && (isError(type) || type === Backend.FunctionCallResponse);
}

export function isError(type: number): boolean {
  return type === Backend.ErrorResponse || type === Backend.NoticeResponse;
}

/**
 * The fields of an ErrorResponse or NoticeResponse, including those with unknown codes. For the first piece of a long
 * message: its complete fields. Severity and SQLSTATE come first (send_message_to_frontend of utils/error/elog.c).
 */
export function decodeError(frame: Frame): ErrorFields {
  const body = new BodyReader(frame, "ErrorResponse", "beginning");
  const fields = new Map<string, string>();
  while (isWhole(frame, body)) {
    const code = body.byte();
    if (code === 0) break;
    fields.set(String.fromCharCode(code), body.utf8());
  }
  if (frame.piece === "whole") body.finish();
  return fields;
}

/** Whether the next field has arrived completely; in a whole message every field must be complete. */
function isWhole({ buffer, end, piece }: Frame, { at }: BodyReader): boolean {
  if (piece === "whole") return true;
  const zero = buffer.indexOf(0, at);
  return zero >= 0 && zero < end;
}

export function errorResponse(refusal: Refusal): Buffer {
  return told(Backend.ErrorResponse, refusal);
}

export function noticeResponse(refusal: Refusal): Buffer {
  return told(Backend.NoticeResponse, refusal);
}

/** Turns the server's ErrorResponse into one that ends the session; all other fields stay as they are. */
export function fatalResponse(frame: Frame): Buffer {
  const fields = [...decodeError(frame)].map(([code, text]) =>
    cstring(code + (code === "S" || code === "V" ? "FATAL" : text)),
  );
  return message(Backend.ErrorResponse, ...fields, Buffer.alloc(1));
}

function told(type: number, refusal: Refusal): Buffer {
  const { severity, sqlstate, message: text, detail, hint, rule, position, reference } = refusal;
  const fields: Buffer[] = [];
  const add = (code: string, value: string | undefined) => {
    if (value !== undefined) fields.push(cstring(code + value));
  };
  add("S", severity);
  add("V", severity);
  add("C", sqlstate);
  add("M", text);
  add("D", detail);
  add("H", hint);
  add("P", position?.toString());
  if (reference !== undefined) add("W", `Sluice reference ${reference}`);
  add("n", rule);
  return message(type, ...fields, Buffer.alloc(1));
}

/**
 * The fields of the server's errors and notices that a guarded session may see. DETAIL, CONTEXT, the internal query and
 * its position can contain whole rows ("Failing row contains …") or our own rewritten text; so may fields that later
 * versions add. The message can quote a value that the statement processed, as the role sees it.
 */
const TOLD = new Set(Buffer.from("SVC"));
/** Where in the server's source the error was raised: more specific than the SQLSTATE. */
const SOURCE = new Set(Buffer.from("FLR"));
const ASKED = new Set(Buffer.from("Hstcdn"));
const MESSAGE = 0x4d; // M
const POSITION = 0x50; // P

/** How the text fields of an error are redacted. */
export interface Telling {
  /**
   * Maps a position (in characters) in the text that the server received to the client's own text; undefined removes
   * it.
   */
  position(at: number): number | undefined;
  message(text: string): string;
  /** Whether a HINT (H) or a name (s, t, c, d, n) is kept. */
  tells(code: string, text: string): boolean;
  /** Whether to keep where in the server's source the error was raised. */
  readonly tellsSource: boolean;
}

/** The server's ErrorResponse or NoticeResponse as a guarded session may see it. */
export function redactError(frame: Frame, telling: Telling): Buffer {
  const { buffer, type } = frame;
  if (type !== Backend.ErrorResponse && type !== Backend.NoticeResponse) {
    throw new ProtocolViolation("not an error or notice");
  }
  const body = new BodyReader(frame, "ErrorResponse", "beginning");
  const kept: Buffer[] = [];
  let isTold = false;
  while (isWhole(frame, body)) {
    const { at } = body;
    const code = body.byte();
    if (code === 0) break;
    const zero = body.skipString();
    isTold ||= code === MESSAGE;
    if (TOLD.has(code) || (telling.tellsSource && SOURCE.has(code))) {
      kept.push(buffer.subarray(at, zero + 1));
    } else if (ASKED.has(code)) {
      const text = buffer.toString("utf8", at + 1, zero);
      if (telling.tells(String.fromCharCode(code), text)) kept.push(buffer.subarray(at, zero + 1));
    } else if (code === MESSAGE) {
      kept.push(cstring(`M${telling.message(buffer.toString("utf8", at + 1, zero))}`));
    } else if (code === POSITION) {
      const mapped = telling.position(Number(buffer.toString("latin1", at + 1, zero)));
      if (mapped !== undefined) kept.push(cstring(`P${mapped}`));
    }
  }
  if (frame.piece === "whole") body.finish();
  else if (!isTold) kept.push(cstring("Mthe server's message is too long to be sent"));
  return message(type, ...kept, Buffer.alloc(1));
}

/** The server's ErrorResponse with another position, or without one; everything else stays the same. */
export function withPosition(frame: Frame, position: number | undefined): Buffer {
  const body = new BodyReader(frame, "ErrorResponse");
  const kept: Buffer[] = [];
  for (let at = body.at, code = body.byte(); code !== 0; at = body.at, code = body.byte()) {
    const zero = body.skipString();
    if (code !== POSITION) kept.push(frame.buffer.subarray(at, zero + 1));
    else if (position !== undefined) kept.push(cstring(`P${position}`));
  }
  body.finish();
  return message(frame.type, ...kept, Buffer.alloc(1));
}
