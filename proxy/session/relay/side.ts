import type { Duplex } from "node:stream";
import { type FrameReader, ProtocolViolation } from "../../wire/frames.ts";
import { Frontend } from "../../wire/messages.ts";
import { type Refusal, refuseSession, type SessionEndReason } from "../../wire/refusal.ts";
import { surviveErrors } from "../../wire/survive-errors.ts";
import type { Side as Connection } from "../context/established.ts";
import { type OnBytes, readSocket, type StopReading } from "./socket-reader.ts";
import { SocketWriter } from "./socket-writer.ts";

/** One side: what it sends, as far as it has been dealt with. */
export class Side {
  readonly socket: Duplex;
  readonly writer: SocketWriter;
  readonly reader: FrameReader;
  /** The reader is at a message that has to wait. */
  isHeld = false;
  /** It will send no more. */
  hasEnded = false;
  /** It takes no more either. */
  isClosed = false;
  /** More is wanted of it. */
  #isWanted = false;
  /** It is read from. */
  #isFlowing = false;
  #onEnd: () => void = () => {};
  #stopReading: StopReading = () => {};

  constructor({ socket, reader }: Connection, onDrain: () => void) {
    this.socket = socket;
    this.writer = new SocketWriter(socket, onDrain);
    this.reader = reader;
  }

  /** Begins to listen; nothing is read before `flow`. `onEnd` is told when it ends, and when it is closed. */
  listen(onBytes: OnBytes, onEnd: () => void): void {
    const { socket } = this;
    this.#onEnd = onEnd;
    socket.pause();
    surviveErrors(socket);
    socket.on("end", this.#ended).on("close", this.#ended);
    this.#stopReading = readSocket(socket, (bytes) => {
      const isUnwanted = !this.#isWanted;
      const isKept = onBytes(bytes);
      if (isUnwanted && !this.#isWanted) this.#pause();
      return isKept;
    });
    if (socket.destroyed || socket.readableEnded) this.hasEnded = true;
    if (socket.destroyed) this.isClosed = true;
  }

  /**
   * Reads from it, or does not. What is not wanted is stopped only once bytes come all the same, one read of them: an answer
   * waits for the disk in most statements, when the other side has nothing to say, and stopping and starting costs four
   * system calls. Nobody else has it paused or resumed.
   */
  flow(wanted: boolean): void {
    this.#isWanted = wanted;
    if (!wanted || this.#isFlowing) return;
    this.#isFlowing = true;
    this.socket.resume();
  }

  #pause(): void {
    if (!this.#isFlowing) return;
    this.#isFlowing = false;
    this.socket.pause();
  }

  /** Hears no more of it. */
  release(): void {
    this.#stopReading();
    this.writer.release();
    this.socket.off("end", this.#ended).off("close", this.#ended);
    this.socket.pause();
  }

  readonly #ended = (): void => {
    this.hasEnded = true;
    if (this.socket.destroyed) this.isClosed = true;
    this.#onEnd();
  };
}

const FRONTEND_TYPES: ReadonlySet<number> = new Set(Object.values(Frontend));

/**
 * Asked at the head of a message whose end is still to come. One of a type that nobody knows is not waited
 * for: SocketBackend of tcop/postgres.c, too, looks at the type before the length.
 */
export function checkClientType(type: number): void {
  if (!FRONTEND_TYPES.has(type)) throw new ProtocolViolation(`invalid frontend message type ${type}`);
}

export const SERVER_LOST = refuseSession("08006", "the database server closed the connection", {
  hint: "Whether the last transaction was committed is not known. Connect again; the server's log may have details.",
});

/** As metrics and the log name it. */
export function endReasonOf({ ends, sqlstate }: Refusal): SessionEndReason {
  return ends ?? REASONS.get(sqlstate) ?? "other";
}

const REASONS: ReadonlyMap<Refusal["sqlstate"], SessionEndReason> = new Map([
  ["08006", "upstream"],
  ["08P01", "protocol"],
  ["25P03", "idle"],
  ["28000", "policy"],
  ["57014", "timeout"],
  ["57P05", "idle"],
]);
