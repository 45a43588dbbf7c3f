import type { Frame, FrameReader } from "../wire/frames.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Ledger } from "./ledger.ts";
import type { Request } from "./requests.ts";

/** What a session does for its leg. */
export interface LegUser {
  /** Messages of the server's have come. True: something still points into their bytes. */
  arrived(): boolean;
  /** What had to wait may be tried again. */
  wake(): void;
  /** Whether a long message of the server's may be handed out in pieces. */
  mayStream(type: number, length: number): boolean;
}

/** A token that was turned back. */
export interface OpenedValue {
  readonly className: string;
  /** `schema.table.column`. */
  readonly column: string;
  readonly token: string;
  /** The position of the field. */
  readonly field: number;
}

/**
 * The way to the server: a connection of the session's own, or one that is lent for each transaction. It carries frames,
 * enters in the session's ledger whatever it sends, and hands out the answers that are the session's. What has to wait
 * waits in the session: nothing is in the ledger that is not on the wire (docs/decisions/035-server-leg.md).
 */
export interface ServerLeg {
  /** The session begins. All that is asked and answered is entered in its ledger. */
  begin(ledger: Ledger, user: LegUser): void;

  /** Whether the proxy may ask something by itself now; false: it will be woken. */
  isReady(): boolean;
  /** Whether this message of the client's, or what stands for it, may be sent now; false: as with `isReady`. */
  admits(message: Frame): boolean;
  /** Sends a message, in whose answer the session sees this request. */
  send(message: Buffer | Frame, request: Request): void;
  /** A message without an answer of its own: data of a COPY, what the server drops, the rest of a long message. */
  pass(message: Buffer | Frame): void;
  /** CopyDone or CopyFail. */
  endCopy(message: Buffer | Frame): void;
  /** Asks whether the COPY that reads rows has failed (`Ledger.askAboutCopy`). */
  askAboutCopy(): void;
  /** Makes the server tell what it has answered so far; `message`: the client's own Flush. */
  flush(message?: Frame): void;
  terminate(): void;
  /** Whether a long message of this type may be passed on while it still arrives: the leg needs to know nothing of its text. */
  passesText(type: number): boolean;
  /** The client sends no more, and has not said goodbye: where the server waits for more it sees that, and ends. */
  hangUp(): void;

  /** Moves `frame` on to the server's next message, or the next piece of one; false: there is none yet. */
  next(): boolean;
  readonly frame: FrameReader;
  /** Of the row at `frame`: the values that it shows because their tokens were turned back. Absent where that is not asked. */
  readonly opened?: readonly OpenedValue[] | undefined;
  /** Of the error at `frame`: the leg has refused what it answers, by what the client sent alone. */
  readonly refusal?: Refusal | undefined;
  /** Reads from the server, or does not. */
  flow(wanted: boolean): void;
  /** The server says no more. */
  readonly hasEnded: boolean;
  /** A statement runs, or waits for a connection. */
  readonly isRunning: boolean;
  /** Nothing runs or waits, and no transaction and no pipeline is open. */
  readonly isIdle: boolean;

  /** Writes what waits. */
  write(): void;
  /** The server takes no more at the moment; a wake follows. */
  readonly isFull: boolean;
  /** Bytes that were sent are still wanted where they lie. */
  readonly holds: boolean;

  /** The session is over. Its transaction ends as it does when a client leaves. */
  leave(): void;
  /** Closes without a word. */
  destroy(): void;
}
