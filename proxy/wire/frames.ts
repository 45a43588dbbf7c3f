import { type Refusal, refuse, refuseSession, type Sqlstate } from "./refusal.ts";

/**
 * One protocol message (or a piece of a long one) inside a borrowed buffer: valid until the next read. `FrameReader` is
 * itself the current frame, so that a message needs no object of its own.
 */
export interface Frame {
  /** ASCII code of the message type, 0 for startup packets. */
  readonly type: number;
  readonly buffer: Buffer;
  /** Offset of the type byte (of the length word in startup packets). */
  readonly start: number;
  /** Offset past the last byte that has arrived. */
  readonly end: number;
  /** Long messages of types that need not be read as a whole arrive in pieces. */
  readonly piece: "whole" | "first" | "middle" | "last";
}

/** One whole message, with its type byte, as a frame. */
export function frameOf(message: Buffer): Frame {
  return { type: message[0] ?? 0, buffer: message, start: 0, end: message.length, piece: "whole" };
}

/** The peer violated the protocol. The connection cannot continue, because the start of the next message is unknown. */
export class ProtocolViolation extends Error {
  override readonly name = "ProtocolViolation";
  readonly refusal: Refusal;

  constructor(message: string, sqlstate: Sqlstate = "08P01", hint?: string) {
    super(message);
    this.refusal = refuseSession(sqlstate, message, hint === undefined ? {} : { hint });
  }
}

/**
 * A message with a valid length and an invalid body. For a server this is an error of this message only: the start of
 * the next one is known.
 */
export class MalformedMessage extends ProtocolViolation {
  /** Worded as in libpq/pqformat.c and tcop/postgres.c. */
  readonly error: Refusal;

  constructor(what: string, words: string) {
    super(`invalid ${what} message: ${words}`);
    this.error = refuse("08P01", words);
  }
}

/** The limit that Postgres has before login is done: PG_MAX_AUTH_TOKEN_LENGTH of libpq/auth.h. */
export const LOGIN_MESSAGE_LIMIT = 65_535;
/** MAX_STARTUP_PACKET_LENGTH of libpq/pqcomm.h; the length word is not included. */
const STARTUP_PACKET_LIMIT = 10_000;

const TOO_LONG =
  "The proxy's setting --max-message allows no more. Rows in COPY … FROM STDIN may be of any number, in messages of their own.";

const EMPTY = Buffer.alloc(0);
/**
 * Minimum size in bytes of the first piece of a message in pieces, if the message is that long: it holds names at the
 * beginning, or the SQLSTATE of an error. Rows (DataRow and CopyData) are forwarded as they arrive.
 */
export const FIRST_PIECE = 4_096;
const ROW_TYPES: ReadonlySet<number> = new Set([0x44, 0x64]);

/** The initial allocation for a message that arrives in parts, whatever length it announces. */
const FIRST_ALLOCATION = 16_384;

/** Whether a message may be handed out in pieces as it arrives. */
export type Streamable = (type: number, length: number) => boolean;

/**
 * Splits a byte stream into messages over the buffers in which it arrived.
 *
 * A message that is complete in its chunk is not copied. Other messages are collected in a buffer of their own, which
 * is never reused: bytes that were handed out do not change, only the reader's fields do.
 */
export class FrameReader implements Frame {
  type = 0;
  buffer: Buffer = EMPTY;
  start = 0;
  end = 0;
  piece: Frame["piece"] = "whole";
  /** Longest message, by its length word, of types that are not streamable. May change during the session. */
  maximumLength: number;

  /**
   * Whether a message may come in pieces; called for each message longer than the bytes that have arrived, or than the
   * maximum. `length`: by its length word. May also change.
   */
  streamable: (type: number, length: number) => boolean;
  /** The chunk being split, from #at on, and the chunks that came after it. */
  #chunk: Buffer = EMPTY;
  #at = 0;
  /** Undefined while nothing is queued: most readers belong to idle sessions. */
  #queue: Buffer[] | undefined;
  /** A message that did not fit its chunk: #filled bytes of #total (0 while the total is unknown). */
  #partial: Buffer | undefined;
  #filled = 0;
  #total = 0;
  /** The number of bytes to collect before the message, or its first piece, is handed out. */
  #goal = 0;
  /** Bytes still to come of a message that is handed out in pieces. */
  #remaining = 0;

  constructor(maximumLength: number, streamable: FrameReader["streamable"]) {
    this.maximumLength = maximumLength;
    this.streamable = streamable;
  }

  /** Takes bytes from the socket. The reader owns them from now on. */
  push(chunk: Buffer): void {
    if (this.#at < this.#chunk.length || this.#queue !== undefined) {
      this.#queue ??= [];
      this.#queue.push(chunk);
    } else {
      this.#chunk = chunk;
      this.#at = 0;
    }
  }

  /** Moves on to the next message or piece; false if more bytes are needed. */
  next(): boolean {
    return this.#next(1);
  }

  /**
   * Extends the frame over the whole messages of the same type that follow in the same bytes, and returns their total
   * number. When a million rows pass unchanged, they need not be handled one by one.
   */
  widen(): number {
    if (this.piece !== "whole" || this.buffer !== this.#chunk) return 1;
    const chunk = this.#chunk;
    let at = this.#at;
    let count = 1;
    // The type byte and length word must have arrived, and then the whole message.
    while (at + 5 <= chunk.length && chunk[at] === this.type) {
      const length = chunk.readInt32BE(at + 1);
      if (length < 4 || length > this.maximumLength || at + 1 + length > chunk.length) break;
      at += 1 + length;
      count++;
    }
    this.end = this.#at = at;
    return count;
  }

  /** Like `next`, for the packets before login, which have no type byte. */
  nextStartup(): boolean {
    return this.#next(0);
  }

  /** The next byte, without reading it: 0x16 means a client that starts with TLS directly. */
  peek(): number | undefined {
    const held = this.#partial && this.#filled > 0 ? this.#partial[0] : this.#chunk[this.#at];
    return held ?? this.#queue?.[0]?.[0];
  }

  /** Removes and returns all bytes that no frame has covered yet, to hand the stream to another reader. */
  drain(): Buffer {
    const partial = this.#partial?.subarray(0, this.#filled) ?? EMPTY;
    const bytes = Buffer.concat([partial, this.#chunk.subarray(this.#at), ...(this.#queue ?? [])]);
    this.#partial = undefined;
    this.#filled = 0;
    this.#chunk = EMPTY;
    this.#at = 0;
    this.#queue = undefined;
    // The reader of a login may be kept; its last message must not be.
    this.buffer = EMPTY;
    this.start = this.end = 0;
    return bytes;
  }

  /** Bytes that have arrived and are not part of a frame yet. */
  get buffered(): number {
    let sum = this.#filled + this.#chunk.length - this.#at;
    for (const chunk of this.#queue ?? []) sum += chunk.length;
    return sum;
  }

  /** Whether the reader is between messages: it holds no byte of an unfinished message and expects no further piece. */
  get idle(): boolean {
    return this.#remaining === 0 && this.buffered === 0;
  }

  /** A message is handed out in pieces, and more of them are to come. */
  get isMidMessage(): boolean {
    return this.#remaining > 0;
  }

  /** `prefix`: the number of bytes before the length word. */
  #next(prefix: 0 | 1): boolean {
    for (;;) {
      if (this.#partial !== undefined && this.#fill(prefix)) return true;
      const here = this.#chunk.length - this.#at;
      if (here === 0) {
        if (this.#nextChunk()) continue;
        this.buffer = EMPTY;
        this.start = this.end = 0;
        return false;
      }
      if (this.#remaining > 0) return this.#nextPiece(here);
      if (here < prefix + 4) {
        this.#gather(0, prefix + 4, here);
        continue;
      }
      const type = prefix === 0 ? 0 : (this.#chunk[this.#at] ?? 0);
      const total = prefix + this.#chunk.readInt32BE(this.#at + prefix);
      const goal = this.#admit(type, total, prefix, here);
      if (goal > here) {
        this.#gather(total, goal, here);
        continue;
      }
      this.type = type;
      return this.#hand(this.#chunk, this.#at, total, here);
    }
  }

  /**
   * Refuses impossible and excessive lengths; returns how many bytes must have arrived before the message is handed
   * out.
   */
  #admit(type: number, total: number, prefix: 0 | 1, here: number): number {
    const length = total - prefix;
    if (prefix === 0) {
      // ProcessStartupPacket of tcop/backend_startup.c: at least the version, at most the limit.
      if (length >= 8 && length <= STARTUP_PACKET_LIMIT + 4) return total;
      throw new ProtocolViolation("invalid length of startup packet");
    }
    // The length counts itself but not the type byte (Postgres docs, "Message Formats").
    if (length < 4) throw new ProtocolViolation("invalid message length");
    if (length <= this.maximumLength && total <= here) return total;
    if (this.streamable(type, length)) return ROW_TYPES.has(type) ? 0 : Math.min(total, FIRST_PIECE);
    if (length > this.maximumLength) {
      throw new ProtocolViolation(`message longer than ${this.maximumLength} bytes`, "08P01", TOO_LONG);
    }
    return total;
  }

  /** Sets the frame to the message that begins at `at`: whole, or its first piece. */
  #hand(buffer: Buffer, at: number, total: number, here: number): true {
    const length = Math.min(total, here);
    this.buffer = buffer;
    this.start = at;
    this.end = at + length;
    this.piece = length === total ? "whole" : "first";
    this.#remaining = total - length;
    if (buffer === this.#chunk) this.#at = this.end;
    return true;
  }

  #nextPiece(here: number): true {
    const length = Math.min(this.#remaining, here);
    this.#remaining -= length;
    this.buffer = this.#chunk;
    this.start = this.#at;
    this.end = this.#at += length;
    this.piece = this.#remaining === 0 ? "last" : "middle";
    return true;
  }

  #nextChunk(): boolean {
    // An idle session must not hold on to the last 64 kB that it read.
    this.#chunk = this.#queue?.shift() ?? EMPTY;
    this.#at = 0;
    if (this.#queue?.length === 0) this.#queue = undefined;
    return this.#chunk.length > 0 || this.#queue !== undefined;
  }

  /** Sets the rest of the chunk aside as the beginning of a message of `total` bytes. */
  #gather(total: number, goal: number, here: number): void {
    const room = Math.max(here * 2, FIRST_ALLOCATION);
    this.#partial = Buffer.allocUnsafe(Math.min(goal, room));
    this.#filled = 0;
    this.#total = total;
    this.#goal = goal;
    this.#take(here);
  }

  /** Adds to the collected message; true if that completes a frame. */
  #fill(prefix: 0 | 1): boolean {
    if (this.#total === 0) {
      const header = prefix + 4;
      this.#take(header - this.#filled);
      if (this.#filled < header || this.#partial === undefined) return false;
      const type = prefix === 0 ? 0 : (this.#partial[0] ?? 0);
      const total = prefix + this.#partial.readInt32BE(prefix);
      this.#goal = Math.max(this.#admit(type, total, prefix, header), header);
      this.type = type;
      this.#total = total;
    }
    this.#take(this.#goal - this.#filled);
    if (this.#filled < this.#goal || this.#partial === undefined) return false;
    this.type = prefix === 0 ? 0 : (this.#partial[0] ?? 0);
    return this.#release(this.#total);
  }

  #release(total: number): true {
    const buffer = this.#partial ?? EMPTY;
    const filled = this.#filled;
    this.#partial = undefined;
    this.#filled = 0;
    return this.#hand(buffer, 0, total, filled);
  }

  /**
   * Copies up to `wanted` bytes from the chunk. The buffer doubles as bytes arrive: a header that announces 64 MB costs
   * its sender 32 MB before it costs us 64 MB.
   */
  #take(wanted: number): void {
    const length = Math.min(wanted, this.#chunk.length - this.#at);
    let partial = this.#partial ?? EMPTY;
    const needed = this.#filled + length;
    if (needed > partial.length) {
      const room = Math.max(needed, partial.length * 2, Math.min(this.#goal, FIRST_ALLOCATION));
      const grown = Buffer.allocUnsafe(Math.min(Math.max(this.#goal, needed), room));
      partial.copy(grown, 0, 0, this.#filled);
      partial = this.#partial = grown;
    }
    this.#chunk.copy(partial, this.#filled, this.#at, this.#at + length);
    this.#filled = needed;
    this.#at += length;
  }
}
