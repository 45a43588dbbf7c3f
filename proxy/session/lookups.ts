import { type Account, accountOf, type Grant, type Meter } from "../guard/meter.ts";
import { refusalOf } from "../guard/refusal.ts";
import type { Role } from "../policy/policy.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Budgets of exact look-ups. They are counted before the statement that makes them runs: one that finds
 * nobody tells that, and gives no row to count.
 */
export class Lookups {
  readonly #exchange: Exchange;
  #meter: { readonly role: Role; readonly account: Account; readonly meter: Meter } | undefined;
  #isAsking = false;
  /** Of the message that waits. */
  #answer: Grant | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** "unsettled": the message must be handed in again after a `wake`. */
  charge(count: number): Refusal | "counted" | "unsettled" {
    const counting = count > 0 ? this.#counting() : undefined;
    if (counting === undefined) return "counted";
    if (this.#isAsking) return "unsettled";
    const grant = this.#answer ?? counting.meter.amount("lookups", count);
    this.#answer = undefined;
    if (grant instanceof Promise) {
      this.#wait(grant);
      return "unsettled";
    }
    return grant.kind === "all" ? "counted" : refusalOf(grant, counting.account);
  }

  #wait(grant: Promise<Grant>): void {
    this.#isAsking = true;
    const asked = performance.now();
    const answered = grant.catch((): Grant => ({ kind: "unreachable" }));
    void answered.then((answer) => {
      this.#isAsking = false;
      this.#exchange.parts.metrics.waited("meter", (performance.now() - asked) / 1000);
      this.#answer = answer;
      this.#exchange.wake();
    });
  }

  #counting() {
    const { judging, established, parts } = this.#exchange;
    const { role } = judging;
    if (!role.budget.some(({ what }) => what === "lookups")) return undefined;
    if (this.#meter?.role !== role) {
      const account = accountOf(role, established);
      this.#meter = { role, account, meter: parts.meter(account) };
    }
    return this.#meter;
  }
}
