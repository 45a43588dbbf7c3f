import type { Socket } from "node:net";
import { FrameReader } from "../../wire/frames.ts";
import { surviveErrors } from "../../wire/survive-errors.ts";
import type { Side } from "../context/established.ts";

/**
 * One peer during login, a message at a time: nothing is read before it is asked for, so what a peer sends
 * too early waits in its socket and in the reader. The session takes both over as they are.
 */
export class Conversation implements Side {
  readonly socket: Socket;
  readonly reader: FrameReader;
  readonly #signal: AbortSignal;

  /** `longest`: of one message, by its length word. When `signal` aborts, a pending `receive` throws its reason. */
  constructor(socket: Socket, longest: number, signal: AbortSignal, reader?: FrameReader) {
    this.socket = socket;
    // Another's reader may hold bytes that have been read already.
    this.reader = reader ?? new FrameReader(longest, () => false);
    this.reader.maximumLength = longest;
    this.#signal = signal;
    surviveErrors(socket);
    socket.pause();
  }

  /** Moves the reader on to the next message; false when the peer has closed instead. */
  async receive(): Promise<boolean> {
    while (!this.reader.next()) {
      if (!(await this.#more())) return false;
    }
    return true;
  }

  /** As `receive`, for the packets of the start-up phase. */
  async receiveStartup(): Promise<boolean> {
    while (!this.reader.nextStartup()) {
      if (!(await this.#more())) return false;
    }
    return true;
  }

  /** Waits for the first byte, unread; undefined when the peer has closed instead. */
  async firstByte(): Promise<number | undefined> {
    while (this.reader.peek() === undefined) {
      if (!(await this.#more())) return undefined;
    }
    return this.reader.peek();
  }

  /** What a session takes over, and nothing of the login with it. */
  handOver(): Side {
    const { socket, reader } = this;
    return { socket, reader };
  }

  /** Messages of a login are few and small: there is nothing to hold back. */
  send(bytes: Buffer): void {
    if (this.socket.writable) this.socket.write(bytes);
  }

  #more(): Promise<boolean> {
    const { socket, reader } = this;
    const signal = this.#signal;
    if (signal.aborted) return Promise.reject(signal.reason);
    if (socket.destroyed || socket.readableEnded) return Promise.resolve(false);
    return new Promise((resolve, reject) => {
      const done = () => {
        socket.pause();
        socket.off("data", onData).off("end", onEnd).off("close", onEnd);
        signal.removeEventListener("abort", onAbort);
      };
      const onData = (chunk: Buffer) => {
        done();
        reader.push(chunk);
        resolve(true);
      };
      const onEnd = () => {
        done();
        resolve(false);
      };
      const onAbort = () => {
        done();
        reject(signal.reason);
      };
      socket.on("data", onData).on("end", onEnd).on("close", onEnd);
      signal.addEventListener("abort", onAbort);
      socket.resume();
    });
  }
}

const NOTHING = Buffer.alloc(0);
/** For how long a peer may take to read its last message, or a part of what is left of a long answer. */
const FAREWELL_MS = 2_000;

/**
 * Sends the last words and closes. What the peer still sends is read and dropped: a socket that is closed
 * with bytes unread is reset, and the peer's system then throws away the last words as well.
 */
export function sayFarewell(socket: Socket, words: Buffer = NOTHING): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  destroyOnceStalled(socket);
  if (words.length > 0) socket.write(words);
  socket.end();
  // Whoever listened so far hears no more: after the last words nothing of this peer counts.
  socket.removeAllListeners("data");
  socket.on("data", () => {});
  socket.resume();
}

/**
 * Closes the socket once the peer has stopped reading; a slow peer still gets all of its answer. `Socket.setTimeout` is
 * not suitable, because it is also reset by what the peer sends.
 */
function destroyOnceStalled(socket: Socket): void {
  let left = Number.POSITIVE_INFINITY;
  const timer = setInterval(() => {
    const before = left;
    left = unsent(socket);
    if (socket.writableFinished || left >= before) socket.destroy();
    else socket.pause();
  }, FAREWELL_MS);
  timer.unref();
  socket.once("close", () => clearInterval(timer));
}

/** Bytes that the system has not taken yet: the stream's own, and those of a write that is under way (net.js, `_onTimeout`). */
function unsent(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, "_handle");
  const queue = typeof handle === "object" && handle !== null ? Reflect.get(handle, "writeQueueSize") : 0;
  return socket.writableLength + (typeof queue === "number" ? queue : 0);
}

/**
 * Resolves with the awaited value, or rejects with the signal's reason if it aborts first; a value that comes later is
 * discarded.
 */
export function unlessAborted<T>(
  awaited: Promise<T>,
  signal: AbortSignal,
  discard: (late: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    awaited.then(
      (value) => {
        signal.removeEventListener("abort", onAbort);
        if (signal.aborted) discard(value);
        else resolve(value);
      },
      (error: unknown) => {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    );
    if (signal.aborted) onAbort();
  });
}

export function destroySocket(socket: Socket): void {
  socket.destroy();
}
