import { LRUCache } from "lru-cache";
import type { Account, Grant } from "./meter.ts";

/** A budget that only alerts has been used up. */
export interface BudgetSighting {
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly user: string;
  readonly role: string;
  readonly database: string;
  /** IP address. */
  readonly client: string;
  readonly session: string;
  readonly application: string;
  /** How much has been used, and of what. */
  readonly used: number;
  readonly limit: number;
  readonly text: string;
}

/** More than accounts that are past a budget at one time; who is forgotten is told of again. */
const REMEMBERED = 10_000;

/** Tells of each budget that is used up once, until it has room again. */
export class BudgetAlerts {
  readonly #until = new LRUCache<string, number>({ max: REMEMBERED });

  /** The words of an alert; undefined: that has been told. */
  news(account: Account, { window, used, freesAt }: UsedUp, now: number): string | undefined {
    const { database, user, role, address } = account;
    const key = JSON.stringify([database, user, role, address, window.rule]);
    if ((this.#until.get(key) ?? 0) > now) return undefined;
    this.#until.set(key, Math.max(freesAt, now + QUIET));
    return `${used} of ${window.limit} ${window.what} within ${window.name} are used up; the policy lets the reader go on`;
  }
}

type UsedUp = Extract<Grant, { kind: "part" }>;

/** A window that is full has room again with each person who leaves it. */
const QUIET = 3_600_000;
