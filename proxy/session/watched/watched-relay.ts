import type { Refusal } from "../../wire/refusal.ts";
import type { Underway } from "../relay/relay.ts";
import { SplitRelay } from "../relay/split-relay.ts";
import { WatchedBackend } from "./backend.ts";
import { WatchedFrontend } from "./frontend.ts";
import { isRunRequest } from "./watched-requests.ts";
import { WatchedState } from "./watched-state.ts";

/** The session of a role that sees all, whose people are counted: nothing waits for that, and nothing is refused for it. */
export class WatchedRelay extends SplitRelay {
  readonly #backend: WatchedBackend;
  readonly #state: WatchedState;

  constructor(...parts: ConstructorParameters<typeof WatchedState>) {
    const state = new WatchedState(...parts);
    const backend = new WatchedBackend(state);
    super(state, new WatchedFrontend(state), backend);
    this.#backend = backend;
    this.#state = state;
  }

  record(): void {
    this.#backend.underway();
  }

  get sendsMoreSoon(): false {
    return false;
  }

  get underway(): Underway | undefined {
    const { head } = this.#state.ledger;
    switch (head?.kind) {
      case "query":
      // A server waits for locks when it parses, too.
      case "parse":
      case "bind":
        return head.judged && { judged: head.judged, at: head.at };
      case "execute": {
        const judged = this.#state.names.portals.get(head.portal)?.judged;
        return judged && { judged, at: head.at };
      }
      default:
        return undefined;
    }
  }

  cancelStatement(words: Refusal): void {
    this.#backend.cancel(words);
  }

  protected get person(): string | undefined {
    const { head } = this.#state.ledger;
    if (!isRunRequest(head)) return undefined;
    return (head.kind === "functionCall" ? head.called.reader : head.reader).person;
  }
}
