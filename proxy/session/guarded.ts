import type { FrameReader } from "../wire/frames.ts";
import { Frontend } from "../wire/messages.ts";
import type { Outbox } from "../wire/outbox.ts";
import { GuardedBackend } from "./backend.ts";
import { Exchange } from "./exchange.ts";
import { GuardedFrontend } from "./frontend.ts";
import type { Relay } from "./relay.ts";

/** The session of a role that does not see all. */
export class GuardedRelay implements Relay {
  readonly toClient: Outbox;
  readonly toServer: Outbox;
  /** Rows wait for the meter, texts for their events. */
  readonly keepsBytes = true;
  readonly #exchange: Exchange;
  readonly #frontend: GuardedFrontend;
  readonly #backend: GuardedBackend;

  constructor(...parts: ConstructorParameters<typeof Exchange>) {
    const exchange = new Exchange(...parts);
    this.#exchange = exchange;
    this.#frontend = new GuardedFrontend(exchange);
    this.#backend = new GuardedBackend(exchange);
    this.toClient = exchange.toClient;
    this.toServer = exchange.toServer;
  }

  get isRunning(): boolean {
    return !this.#exchange.ledger.isSettled;
  }

  get copyIn(): boolean {
    return this.#exchange.ledger.intake === "copyIn";
  }

  get isIdle(): boolean {
    return this.#exchange.ledger.isIdle;
  }

  get terminated(): boolean {
    return this.#exchange.terminated;
  }

  get fatal(): boolean {
    return this.#exchange.fatal;
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
    const { ledger, trace } = this.#exchange;
    const { head } = ledger;
    const run = head?.kind === "query" || head?.kind === "execute" ? head.run : undefined;
    if (run !== undefined) trace.underway(run);
  }

  mayStream(type: number, length: number): boolean {
    return this.#backend.mayStream(type, length);
  }

  mayClientStream(type: number): boolean {
    return type === Frontend.CopyData;
  }

  cancelStatement(): void {
    this.#exchange.overrun = true;
    // What has been answered already, and only waits for a Sync, is not to be taken for a statement that runs.
    this.#exchange.flush();
    this.#exchange.cancel();
  }

  abandon(): void {
    this.#backend.abandon();
  }
}
