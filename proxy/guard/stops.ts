import { LRUCache } from "lru-cache";
import type { Refusal } from "../wire/refusal.ts";
import type { Account } from "./meter.ts";

/** Why an account shows nobody for now. */
interface Stop {
  readonly refusal: Refusal;
  /** Unix time in milliseconds. */
  readonly until: number;
}

/** More than users who are stopped at one time; who is forgotten is stopped again by what they read next. */
const ACCOUNTS = 10_000;

/** Accounts whose budget is used up, as this process has last heard: they are charged behind the answer. */
export class Stops {
  readonly #known = new LRUCache<string, Stop>({ max: ACCOUNTS });

  stop(account: Account, refusal: Refusal, until: number): void {
    this.#known.set(keyOf(account), { refusal, until });
  }

  /** What the account is told at this time; undefined: it may go on. */
  of(account: Account, now: number): Refusal | undefined {
    if (this.#known.size === 0) return undefined;
    const key = keyOf(account);
    const stop = this.#known.get(key);
    if (stop === undefined) return undefined;
    if (stop.until > now) return stop.refusal;
    this.#known.delete(key);
    return undefined;
  }
}

function keyOf({ database, user, role, address }: Account): string {
  return JSON.stringify([database, user, role, address]);
}
