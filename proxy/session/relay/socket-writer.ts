import type { Duplex } from "node:stream";
import { plainSocket } from "../context/plain-socket.ts";

/**
 * Writes a socket. What a plain one takes at once is handed to it past the stream's own queue: for a small query the
 * queue's bookkeeping costs as much as all that Sluice does for it (docs/performance.md). `_write` is what the stream
 * itself would call, and the system keeps the order of what it is given; only what the stream has queued must go first.
 */
export class SocketWriter {
  /** More should not be written before `onDrain`. */
  isFull = false;
  readonly #socket: Duplex;
  readonly #onDrain: () => void;
  /** `_write` may be called: of TLS only the stream knows when it takes another write. */
  readonly #isPlain: boolean;
  /** The stream may have bytes in its queue. */
  #hasQueued = false;
  /** A write has been handed over, and the system has not taken all of it. */
  #isWaiting = false;
  #isHandingOver = false;

  /** `onDrain` is told when the socket takes bytes again after it was full. */
  constructor(socket: Duplex, onDrain: () => void) {
    this.#socket = socket;
    this.#isPlain = plainSocket(socket) !== undefined;
    this.#onDrain = onDrain;
    socket.on("drain", this.#drained);
  }

  /** Bytes that were written are still wanted where they lie. */
  get holds(): boolean {
    return this.#isWaiting || this.#queues();
  }

  /** What is written to a socket that is closed is lost. */
  write(bytes: Buffer): void {
    if (!this.#isPlain || this.#isWaiting || this.#queues()) {
      this.#enqueue(bytes);
      return;
    }
    this.#isWaiting = this.#isHandingOver = true;
    this.#socket._write(bytes, RAW, this.#taken);
    this.#isHandingOver = false;
    this.isFull = this.#isWaiting;
  }

  /** As few writes as the system takes them in. */
  writeAll(parts: readonly Buffer[]): void {
    this.#socket.cork();
    for (const part of parts) this.#enqueue(part);
    this.#socket.uncork();
  }

  /** What is on its way still goes out; no one is notified any more. */
  release(): void {
    this.#socket.off("drain", this.#drained);
  }

  #enqueue(bytes: Buffer): void {
    const socket = this.#socket;
    if (!socket.writable) return;
    this.#hasQueued = true;
    if (!socket.write(bytes)) this.isFull = true;
  }

  #queues(): boolean {
    if (this.#hasQueued && this.#socket.writableLength === 0) this.#hasQueued = false;
    return this.#hasQueued;
  }

  readonly #taken = (error?: Error | null): void => {
    this.#isWaiting = false;
    if (error) this.#socket.destroy(error);
    else if (!this.#isHandingOver) this.#drained();
  };

  readonly #drained = (): void => {
    if (this.#isWaiting || this.#socket.writableNeedDrain) return;
    this.isFull = false;
    this.#onDrain();
  };
}

/** `_write` asks for an encoding of bytes, too. */
const RAW = "buffer" as BufferEncoding;
