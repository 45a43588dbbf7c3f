import type { Target } from "../../wire/frontend-messages.ts";
import { Frontend } from "../../wire/messages.ts";
import {
  poisonedBind,
  poisonedDescribe,
  poisonedExecute,
  poisonedParse,
  poisonedQuery,
} from "../../wire/poison.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Refusals, as the server itself would fail: a message of the same type that surely fails is sent in place of
 * the client's, and the refusal takes the place of the server's error. So blocks and pipelines end as they
 * would. docs/decisions/001-poisoned-message.md. Each gives true: the message has been dealt with.
 */
export class Refusing {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** Query and FunctionCall. */
  query(judged: Judged | undefined, refusal: Refusal): true {
    this.#exchange.sendQuery(poisonedQuery, judged, refusal);
    return true;
  }

  parse(name: string, judged: Judged | undefined, refusal: Refusal): true {
    const at = performance.now();
    const reply = { kind: "parse", at, refusal, name, judged, change: undefined } as const;
    this.#exchange.sendStep(poisonedParse(name), reply);
    return true;
  }

  bind(portal: string, judged: Judged | undefined, refusal: Refusal): true {
    const at = performance.now();
    const reply = { kind: "bind", at, refusal, statement: "", judged, change: undefined } as const;
    this.#exchange.sendStep(poisonedBind(portal), reply);
    return true;
  }

  describe(of: Target, refusal: Refusal): true {
    const reply = { kind: "describe", at: performance.now(), refusal, of } as const;
    this.#exchange.sendStep(poisonedDescribe(of.target), reply);
    return true;
  }

  /**
   * A message whose body cannot be read: the server would say so without looking at what it is about. A Sync ends the
   * skipping all the same, and its pipeline (SocketBackend of tcop/postgres.c).
   */
  malformed(type: number, refusal: Refusal): true {
    if (type === Frontend.Query || type === Frontend.FunctionCall) return this.query(undefined, refusal);
    const isSync = type === Frontend.Sync;
    if (isSync && this.#exchange.ledger.intake === "skipping") {
      this.#exchange.sendSync("hidden");
      return this.query(undefined, refusal);
    }
    const at = performance.now();
    const nothing = { statement: undefined, portal: undefined };
    this.#exchange.sendStep(poisonedExecute, { kind: "close", at, refusal, ...nothing });
    if (isSync) this.#exchange.sendSync();
    return true;
  }

  /** The portal may have been opened for another person than the one who runs it. */
  execute(portalName: string, refusal: Refusal): true {
    const at = performance.now();
    const { acting } = this.#exchange;
    const refused = { refusal, ...(acting && { refusedTo: acting.onRecord }) };
    const nothing = {
      unrolled: undefined,
      asked: 0,
      truncates: false,
      pinned: undefined,
      repeat: undefined,
      run: undefined,
    };
    this.#exchange.sendStep(poisonedExecute, { kind: "execute", at, ...refused, portalName, ...nothing });
    return true;
  }
}
