import { type Frame, MalformedMessage, ProtocolViolation } from "./frames.ts";

/** Types of messages that a client sends (Postgres docs, "Message Formats"). */
export const Frontend = {
  Bind: 0x42, // B
  Close: 0x43, // C
  CopyData: 0x64, // d
  CopyDone: 0x63, // c
  CopyFail: 0x66, // f
  Describe: 0x44, // D
  Execute: 0x45, // E
  Flush: 0x48, // H
  FunctionCall: 0x46, // F
  Parse: 0x50, // P
  /** PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse share one code. */
  Password: 0x70, // p
  Query: 0x51, // Q
  Sync: 0x53, // S
  Terminate: 0x58, // X
} as const;

/** Types of messages that a server sends. */
export const Backend = {
  Authentication: 0x52, // R
  BackendKeyData: 0x4b, // K
  BindComplete: 0x32, // 2
  CloseComplete: 0x33, // 3
  CommandComplete: 0x43, // C
  CopyBothResponse: 0x57, // W
  CopyData: 0x64, // d
  CopyDone: 0x63, // c
  CopyInResponse: 0x47, // G
  CopyOutResponse: 0x48, // H
  DataRow: 0x44, // D
  EmptyQueryResponse: 0x49, // I
  ErrorResponse: 0x45, // E
  FunctionCallResponse: 0x56, // V
  NegotiateProtocolVersion: 0x76, // v
  NoData: 0x6e, // n
  NoticeResponse: 0x4e, // N
  NotificationResponse: 0x41, // A
  ParameterDescription: 0x74, // t
  ParameterStatus: 0x53, // S
  ParseComplete: 0x31, // 1
  PortalSuspended: 0x73, // s
  ReadyForQuery: 0x5a, // Z
  RowDescription: 0x54, // T
} as const;

/** The server's transaction status in ReadyForQuery: idle, in a block, in a failed block. */
export type TransactionStatus = "I" | "T" | "E";

/**
 * Reads a message's body from its first byte to its last. Anything that does not fit (a string without its zero byte, a
 * count beyond the end, leftover bytes) is a violation: if the server could read it differently from us, rules could be
 * bypassed.
 */
export class BodyReader {
  readonly #buffer: Buffer;
  readonly #end: number;
  readonly #what: string;
  readonly #isWhole: boolean;
  #at: number;

  /** `what` names the message in violations. "beginning": accepts the first piece of a message. */
  constructor(frame: Frame, what: string, part: "whole" | "beginning" = "whole") {
    if (frame.piece !== "whole" && (part === "whole" || frame.piece !== "first"))
      throw new ProtocolViolation(`${what} message in pieces`);
    this.#isWhole = frame.piece === "whole";
    this.#buffer = frame.buffer;
    this.#end = frame.end;
    this.#what = what;
    this.#at = frame.start + (frame.type === 0 ? 4 : 5);
  }

  /** Offset in the frame's buffer. */
  get at(): number {
    return this.#at;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  byte(): number {
    return this.#buffer[this.#advance(1)] ?? 0;
  }

  /** Counts are unsigned, as Postgres reads them (pq_getmsgint with 2 bytes). */
  uint16(): number {
    return this.#buffer.readUInt16BE(this.#advance(2));
  }

  int32(): number {
    return this.#buffer.readInt32BE(this.#advance(4));
  }

  bytes(length: number): Buffer {
    const from = this.#advance(length);
    return this.#buffer.subarray(from, from + length);
  }

  skip(length: number): void {
    this.#advance(length);
  }

  /** Skips a zero-terminated string and returns the offset of its zero byte. */
  skipString(): number {
    const zero = this.#buffer.indexOf(0, this.#at);
    if (zero < 0 || zero >= this.#end) this.fail("invalid string in message");
    this.#at = zero + 1;
    return zero;
  }

  /** A zero-terminated string, one character per byte, so that invalid UTF-8 stays distinct. */
  latin1(): string {
    const from = this.#at;
    return this.#buffer.toString("latin1", from, this.skipString());
  }

  utf8(): string {
    const from = this.#at;
    return this.#buffer.toString("utf8", from, this.skipString());
  }

  /** The key of a statement's or portal's name: see `nameKey`. */
  name(): string {
    const from = this.#at;
    const zero = this.skipString();
    return this.#buffer.toString("latin1", from, Math.min(zero, from + NAME_BYTES));
  }

  /** Must be called last: checks that the body ends here. */
  finish(): void {
    if (this.#at !== this.#end) this.fail("invalid message format");
  }

  #advance(length: number): number {
    const from = this.#at;
    if (length < 0 || length > this.#end - from) this.fail("insufficient data left in message");
    this.#at = from + length;
    return from;
  }

  /** The body is invalid; `words` is the server's message for it. */
  fail(words: string): never {
    // An error in the first piece may only be due to the missing rest.
    if (!this.#isWhole) throw new ProtocolViolation(`${this.#what} message with a name that is too long`);
    throw new MalformedMessage(this.#what, words);
  }
}

/** NAMEDATALEN - 1 */
const NAME_BYTES = 63;

/**
 * The key under which the server keeps a prepared statement or portal: the first 63 bytes of its name, one character
 * per byte. The server's hash tables compare no more (utils/hash/dynahash.c, string keys), so two longer names can be
 * one statement. For names from SQL text; the decoders already return such keys.
 */
export function nameKey(name: string): string {
  return Buffer.from(name, "utf8").toString("latin1", 0, NAME_BYTES);
}

/** A message of the given type with a body made of the given parts. */
export function message(type: number, ...parts: readonly Buffer[]): Buffer {
  let length = 4;
  for (const part of parts) length += part.length;
  const out = Buffer.allocUnsafe(1 + length);
  out[0] = type;
  out.writeInt32BE(length, 1);
  let at = 5;
  for (const part of parts) at += part.copy(out, at);
  return out;
}

/** Zero-terminated; zero bytes inside would end it early, so they are removed. */
export function cstring(text: string, encoding: "utf8" | "latin1" = "utf8"): Buffer {
  return Buffer.from(`${text.replaceAll("\0", "")}\0`, encoding);
}

export function int32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeInt32BE(value);
  return out;
}

export function uint16(value: number): Buffer {
  const out = Buffer.allocUnsafe(2);
  out.writeUInt16BE(value);
  return out;
}

/** The bytes of a frame, borrowed. */
export function bytesOf(frame: Frame): Buffer {
  return frame.buffer.subarray(frame.start, frame.end);
}

/** A row of a result, or of a COPY. */
export function isRow(type: number): boolean {
  return type === Backend.DataRow || type === Backend.CopyData;
}
