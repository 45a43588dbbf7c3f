import type { Frame } from "./frames.ts";

/** Up to this size, pieces are joined in one buffer: cheaper than passing many to the system. */
const GATHERED = 128 * 1024;
/** A message up to this size is moved next to the one before it: a memmove costs less than one more piece. */
const MOVED = 1024;

/** Where an outbox is flushed to. */
export interface Sink {
  write(bytes: Buffer): void;
  /** The same for many pieces, in as few writes as possible. */
  writeAll(parts: readonly Buffer[]): void;
}

/**
 * Everything that goes to one socket because of one read event, in one write. Forwarded bytes are borrowed, not copied,
 * and messages that are adjacent in a buffer stay one piece.
 */
export class Outbox {
  #parts: Buffer[] = [];
  #size = 0;
  /** The piece at the end, which may still grow. */
  #buffer: Buffer | undefined;
  #start = 0;
  #end = 0;
  #isMidMessage = false;

  /** Forwards the message, or piece of one, as it came. */
  forward(frame: Frame): void {
    this.lend(frame.buffer, frame.start, frame.end);
    this.#isMidMessage = frame.piece === "first" || frame.piece === "middle";
  }

  /** Whether a message has been forwarded only in part: nothing else may be sent before its end. */
  get isMidMessage(): boolean {
    return this.#isMidMessage;
  }

  /**
   * Adds bytes `[start, end)` of a buffer that is no longer written to by others. Bytes of one buffer are added in
   * order, and the bytes between them are not needed: messages are moved together there.
   */
  lend(buffer: Buffer, start: number, end: number): void {
    this.#size += end - start;
    this.#isMidMessage = false;
    if (this.#buffer === buffer && this.#end === start) {
      this.#end = end;
      return;
    }
    // Rows whose last fields were removed: the bytes between them are not needed.
    if (this.#buffer === buffer && this.#end < start && end - start <= MOVED) {
      buffer.copyWithin(this.#end, start, end);
      this.#end += end - start;
      return;
    }
    this.#close();
    this.#buffer = buffer;
    this.#start = start;
    this.#end = end;
  }

  send(message: Buffer): void {
    this.lend(message, 0, message.length);
  }

  /** Bytes waiting for `flush`. */
  get size(): number {
    return this.#size;
  }

  /** Discards all waiting bytes. */
  clear(): void {
    this.#buffer = undefined;
    this.#parts = [];
    this.#size = 0;
  }

  /** Removes and returns all waiting bytes, for others to write. */
  take(): readonly Buffer[] {
    this.#close();
    const parts = this.#parts;
    this.#parts = [];
    this.#size = 0;
    return parts;
  }

  /** Writes all waiting bytes; the sink knows whether it has to slow down. */
  flush(sink: Sink): void {
    const size = this.#size;
    if (size === 0) return;
    if (this.#parts.length === 0) {
      this.#size = 0;
      const only = this.#piece();
      if (only !== undefined) sink.write(only);
      return;
    }
    const parts = this.take();
    if (size <= GATHERED) sink.write(Buffer.concat(parts, size));
    else sink.writeAll(parts);
  }

  #close(): void {
    const piece = this.#piece();
    if (piece !== undefined) this.#parts.push(piece);
  }

  /** Ends the piece that could still grow, and returns it. */
  #piece(): Buffer | undefined {
    const buffer = this.#buffer;
    this.#buffer = undefined;
    const isWhole = this.#start === 0 && this.#end === buffer?.length;
    return isWhole ? buffer : buffer?.subarray(this.#start, this.#end);
  }
}
