import type { Ledger } from "../../protocol/ledger.ts";
import type { FrameReader } from "../../wire/frames.ts";
import { Frontend } from "../../wire/messages.ts";
import type { Outbox } from "../../wire/outbox.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Relay, Underway } from "./relay.ts";

/** What the two directions of such a session know of each other. */
interface SharedState {
  readonly toClient: Outbox;
  readonly ledger: Ledger;
  readonly terminated: boolean;
  readonly fatal: boolean;
}

/** The server's direction. */
type Backend = Pick<Relay, "settle" | "mayStream" | "abandon"> & { handle(frame: FrameReader): boolean };

/** A relay whose two directions are objects of their own, with a ledger between them. */
export abstract class SplitRelay implements Relay {
  readonly toClient: Outbox;
  readonly ledger: Ledger;
  /** Rows wait for the meter, texts for their answers and events. */
  readonly keepsBytes = true;
  readonly #state: SharedState;
  readonly #frontend: { handle(frame: FrameReader): boolean };
  readonly #backend: Backend;

  constructor(state: SharedState, frontend: { handle(frame: FrameReader): boolean }, backend: Backend) {
    this.#state = state;
    this.#frontend = frontend;
    this.#backend = backend;
    this.toClient = state.toClient;
    this.ledger = state.ledger;
  }

  abstract record(): void;
  abstract cancelStatement(words: Refusal): void;
  /** Whom the statement that is being answered runs for; undefined: the account itself. */
  protected abstract get person(): string | undefined;
  abstract get sendsMoreSoon(): boolean;
  abstract get underway(): Underway | undefined;

  stopPerson(person: string, words: Refusal): void {
    const { outstanding, second } = this.ledger;
    // Behind others the request could hit somebody else's statement. Rows of this one are stopped as they come.
    const isAlone = outstanding === 1 || (outstanding === 2 && second?.kind === "sync");
    if (isAlone && this.person === person) this.cancelStatement(words);
  }

  get terminated(): boolean {
    return this.#state.terminated;
  }

  get fatal(): boolean {
    return this.#state.fatal;
  }

  frontend(frame: FrameReader): boolean {
    return this.#frontend.handle(frame);
  }

  backend(frame: FrameReader): boolean {
    return this.#backend.handle(frame);
  }

  settle(): boolean {
    return this.#backend.settle();
  }

  mayStream(type: number, length: number): boolean {
    return this.#backend.mayStream(type, length);
  }

  mayClientStream(type: number): boolean {
    return type === Frontend.CopyData;
  }

  abandon(): void {
    this.#backend.abandon();
  }
}
