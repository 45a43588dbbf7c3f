import { LRUCache } from "lru-cache";
import { measureText } from "../policy/policy.ts";
import type { Account, Grant } from "./meter.ts";
import { budgetKey } from "./scopes.ts";

/** A budget that only alerts is used up. */
export interface BudgetSighting {
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly user: string;
  /** The application's own user, where it reads for the user. */
  readonly account?: string;
  readonly role: string;
  readonly database: string;
  /** IP address. */
  readonly client: string;
  readonly session: string;
  readonly application: string;
  /** The amount used so far, in the budget's own unit. */
  readonly used: number;
  readonly limit: number;
  readonly text: string;
}

/** More than the number of accounts past a budget at one time; a forgotten one is reported again. */
const REMEMBERED = 10_000;

/** Reports each used-up budget once, until it has room again. */
export class BudgetAlerts {
  readonly #until = new LRUCache<string, number>({ max: REMEMBERED });

  /** The text of an alert; undefined if it has already been reported. */
  news(account: Account, { window, used, freesAt }: UsedUp, now: number): string | undefined {
    const key = budgetKey(account, window);
    if ((this.#until.get(key) ?? 0) > now) return undefined;
    this.#until.set(key, Math.max(freesAt, now + QUIET));
    return `${used} of ${window.limit} ${measureText(window)} within ${window.name} are used up; the policy lets the reader go on`;
  }
}

type UsedUp = Extract<Grant, { kind: "part" }>;

/** How long an alert is not repeated, in milliseconds: a full window has room again with each person who leaves it. */
const QUIET = 3_600_000;
