import type { Frame } from "./frames.ts";

/** Less than this is gathered in one buffer: cheaper than handing many to the system. */
const GATHERED = 128 * 1024;
/** A message that is no longer than this is moved to the one before it: a memmove costs less than one piece more. */
const MOVED = 1024;

/** Where an outbox is emptied. */
export interface Sink {
  write(bytes: Buffer): void;
  /** The same for many pieces, in as few writes as may be. */
  writeAll(parts: readonly Buffer[]): void;
}

/**
 * What goes to one socket because of one read event, in one write. Forwarded bytes are lent, not copied, and
 * messages that lie side by side in a buffer stay one piece.
 */
export class Outbox {
  #parts: Buffer[] = [];
  #size = 0;
  /** The piece at the end that may still grow. */
  #buffer: Buffer | undefined;
  #start = 0;
  #end = 0;
  #isMidMessage = false;

  /** The message, or the piece of one, as it came. */
  forward(frame: Frame): void {
    this.lend(frame.buffer, frame.start, frame.end);
    this.#isMidMessage = frame.piece === "first" || frame.piece === "middle";
  }

  /** A message of which a piece was forwarded has not come to its end: nothing else may stand there. */
  get isMidMessage(): boolean {
    return this.#isMidMessage;
  }

  /**
   * Bytes `[start, end)` of a buffer that nobody else writes to any more. What is lent of one buffer comes in its
   * order, and nobody wants what is passed over: messages move together there.
   */
  lend(buffer: Buffer, start: number, end: number): void {
    this.#size += end - start;
    this.#isMidMessage = false;
    if (this.#buffer === buffer && this.#end === start) {
      this.#end = end;
      return;
    }
    // Rows whose last fields were taken off: between them nothing is left that anybody wants.
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

  /** Bytes that wait for `flush`. */
  get size(): number {
    return this.#size;
  }

  /** Nothing of it is to leave. */
  clear(): void {
    this.#buffer = undefined;
    this.#parts = [];
    this.#size = 0;
  }

  /** All of it, to be written by others. */
  take(): readonly Buffer[] {
    this.#close();
    const parts = this.#parts;
    this.#parts = [];
    this.#size = 0;
    return parts;
  }

  /** Writes all of it; whether it was too much, the sink knows. */
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

  /** The piece that may still grow; it grows no more. */
  #piece(): Buffer | undefined {
    const buffer = this.#buffer;
    this.#buffer = undefined;
    const isWhole = this.#start === 0 && this.#end === buffer?.length;
    return isWhole ? buffer : buffer?.subarray(this.#start, this.#end);
  }
}
