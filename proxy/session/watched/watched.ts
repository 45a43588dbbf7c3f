import type { FrameReader } from "../../wire/frames.ts";
import { Frontend } from "../../wire/messages.ts";
import type { Outbox } from "../../wire/outbox.ts";
import type { Relay } from "../relay.ts";
import { STATEMENT_TIMEOUT } from "../time-limits.ts";
import { WatchedBackend } from "./backend.ts";
import { WatchedFrontend } from "./frontend.ts";
import { WatchedState } from "./state.ts";

/** The session of a role that sees all, whose people are counted: nothing waits for that, and nothing is refused for it. */
export class WatchedRelay implements Relay {
  readonly toClient: Outbox;
  readonly toServer: Outbox;
  /** A text is wanted until it has been answered. */
  readonly keepsBytes = true;
  readonly #state: WatchedState;
  readonly #frontend: WatchedFrontend;
  readonly #backend: WatchedBackend;

  constructor(...parts: ConstructorParameters<typeof WatchedState>) {
    const state = new WatchedState(...parts);
    this.#state = state;
    this.#frontend = new WatchedFrontend(state);
    this.#backend = new WatchedBackend(state);
    this.toClient = state.toClient;
    this.toServer = state.toServer;
  }

  get isRunning(): boolean {
    return !this.#state.ledger.isSettled;
  }

  get isIdle(): boolean {
    return this.#state.ledger.isIdle;
  }

  get copyIn(): boolean {
    return this.#state.ledger.intake === "copyIn";
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

  record(): void {
    this.#backend.underway();
  }

  mayStream(type: number): boolean {
    return this.#backend.mayStream(type);
  }

  mayClientStream(type: number): boolean {
    return type === Frontend.CopyData;
  }

  cancelStatement(): void {
    this.#backend.cancel(STATEMENT_TIMEOUT);
  }

  abandon(): void {
    this.#backend.abandon();
  }
}
