import type { Ledger } from "../../protocol/ledger.ts";
import type { FrameReader } from "../../wire/frames.ts";
import type { Outbox } from "../../wire/outbox.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";

/** A statement that is being answered. */
export interface Underway {
  readonly judged: Judged;
  /** `performance.now()` at the client's message. */
  readonly at: number;
}

/** What a session does with the messages of its two sides. */
export interface Relay {
  readonly toClient: Outbox;
  /** What the server has been asked by the session's leg, and what it has answered. */
  readonly ledger: Ledger;
  /** A message of the client's. False: it cannot be dealt with yet, and must be handed in again. */
  frontend(message: FrameReader): boolean;
  /** A message of the server's. False: as with `frontend`. */
  backend(message: FrameReader): boolean;
  /** All that came of the server in one read event has been handed in. False: something still waits. */
  settle(): boolean;
  /** What waits in `toClient` is about to leave: rows of a result that goes on are put on record. */
  record(): void;
  /** The statement that the server runs now, so far as it is known. */
  readonly underway: Underway | undefined;
  /** Whether a long message of the server's may be handed in by pieces. */
  mayStream(type: number, length: number): boolean;
  /** The same of the client's: only its beginning is read. */
  mayClientStream(type: number, length: number): boolean;
  /** Bytes may be wanted after the read event in which they came, although nothing is held and all is written. */
  readonly keepsBytes: boolean;
  /**
   * The client's next message waits for the counters, and before that one is sent the server would keep its answers to
   * itself: what has been made for the server leaves together with it, in one write.
   */
  readonly sendsMoreSoon: boolean;
  /** The client has said that it ends the session. */
  readonly terminated: boolean;
  /** The server has announced the end of the session. */
  readonly fatal: boolean;
  /**
   * The statement that runs has run too long: the server is asked to stop it. Nothing of the client's passes
   * until it has heard that, so that no other statement is hit. `words` replace the server's error.
   */
  cancelStatement(words: Refusal): void;
  /** The same if the statement runs for this person, whom an application has named. */
  stopPerson(person: string, words: Refusal): void;
  /** The session ends: what runs leaves its trace. */
  abandon(): void;
}
