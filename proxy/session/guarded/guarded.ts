import type { Refusal } from "../../wire/refusal.ts";
import type { Underway } from "../relay/relay.ts";
import { SplitRelay } from "../relay/split-relay.ts";
import { GuardedBackend } from "./backend.ts";
import { portalOfReply } from "./current-run.ts";
import { Exchange } from "./exchange.ts";
import { GuardedFrontend } from "./frontend.ts";

/** The session of a role that does not see all. */
export class GuardedRelay extends SplitRelay {
  readonly #exchange: Exchange;
  readonly #frontend: GuardedFrontend;

  constructor(...parts: ConstructorParameters<typeof Exchange>) {
    const exchange = new Exchange(...parts);
    const frontend = new GuardedFrontend(exchange);
    super(exchange, frontend, new GuardedBackend(exchange));
    this.#exchange = exchange;
    this.#frontend = frontend;
  }

  record(): void {
    const { ledger, trace } = this.#exchange;
    const { head } = ledger;
    const run = head?.kind === "query" || head?.kind === "execute" ? head.run : undefined;
    if (run !== undefined) trace.underway(run);
  }

  get sendsMoreSoon(): boolean {
    return this.#frontend.isPricing && this.#exchange.ledger.mustFlush;
  }

  get underway(): Underway | undefined {
    const { head } = this.#exchange.ledger;
    switch (head?.kind) {
      case "query":
      // A server waits for locks when it parses, too.
      case "parse":
      case "bind":
        return head.judged && { judged: head.judged, at: head.at };
      case "execute": {
        const judged = portalOfReply(this.#exchange, head)?.judged;
        return judged && { judged, at: head.at };
      }
      default:
        return undefined;
    }
  }

  /** Nothing is judged for the next person while something runs for the one before. */
  protected get person(): string | undefined {
    const { ledger, judging } = this.#exchange;
    return ledger.head?.kind === "query" || ledger.head?.kind === "execute" ? judging.person : undefined;
  }

  cancelStatement(words: Refusal): void {
    this.#exchange.cancelled = words;
    // What has been answered already, and only waits for a Sync, is not to be taken for a statement that runs.
    this.#exchange.flush();
    this.#exchange.cancel();
  }
}
