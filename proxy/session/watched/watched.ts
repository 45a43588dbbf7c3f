import { STATEMENT_TIMEOUT } from "../context/time-limits.ts";
import { SplitRelay } from "../relay/split-relay.ts";
import { WatchedBackend } from "./backend.ts";
import { WatchedFrontend } from "./frontend.ts";
import { WatchedState } from "./state.ts";

/** The session of a role that sees all, whose people are counted: nothing waits for that, and nothing is refused for it. */
export class WatchedRelay extends SplitRelay {
  readonly #backend: WatchedBackend;

  constructor(...parts: ConstructorParameters<typeof WatchedState>) {
    const state = new WatchedState(...parts);
    const backend = new WatchedBackend(state);
    super(state, new WatchedFrontend(state), backend);
    this.#backend = backend;
  }

  record(): void {
    this.#backend.underway();
  }

  cancelStatement(): void {
    this.#backend.cancel(STATEMENT_TIMEOUT);
  }
}
