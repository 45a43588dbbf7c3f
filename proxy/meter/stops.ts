import { LRUCache } from "lru-cache";
import type { BudgetWindow } from "../policy/policy.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Account } from "./meter.ts";
import { budgetKey } from "./scopes.ts";

/** Why a budget allows no more people for now. */
interface Stop {
  readonly refusal: Refusal;
  /** What the budget allowed: with more, there is room. */
  readonly limit: number;
  /** Unix time in milliseconds. */
  readonly until: number;
}

/** More than budgets that are used up at one time; which is forgotten is stopped again by what is read next. */
const BUDGETS = 10_000;

/**
 * Budgets that are used up, as this process has last heard: what was shown is charged behind the answer. That of a role or of
 * an address stops all who share it, also those who have read nothing yet.
 */
export class Stops {
  readonly #known = new LRUCache<string, Stop>({ max: BUDGETS });

  stop(account: Account, window: BudgetWindow, refusal: Refusal, until: number): void {
    this.#known.set(budgetKey(account, window), { refusal, until, limit: window.limit });
  }

  /**
   * What the account is told at this time; undefined: it may go on. `windows`: its budgets, with what an order changes; they
   * are looked up only if some budget is used up.
   */
  of(account: Account, windows: () => readonly BudgetWindow[], now: number): Refusal | undefined {
    if (this.#known.size === 0) return undefined;
    for (const window of windows()) {
      const key = budgetKey(account, window);
      const stop = this.#known.get(key);
      if (stop === undefined) continue;
      if (stop.until > now && stop.limit >= window.limit) return stop.refusal;
      this.#known.delete(key);
    }
    return undefined;
  }
}
