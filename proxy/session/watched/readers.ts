import { type Account, accountOf, type Meter } from "../../guard/meter.ts";
import { Stops } from "../../guard/stops.ts";
import type { Role } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Established } from "../established.ts";
import type { Judging } from "../judging.ts";
import type { SessionParts } from "../parts.ts";

/** Whom a statement is charged to. */
export interface Reader {
  /** Whose budgets and rules hold. */
  readonly role: Role;
  readonly account: Account;
  readonly meter: Meter;
  /** How many people may be shown before it is known that they have room in the budgets. */
  readonly ahead: number;
}

/** Who reads by a session, by the policy in force. */
export class Readers {
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #judging: Judging;
  #last: Reader | undefined;

  constructor(established: Established, parts: SessionParts, judging: Judging) {
    this.#established = established;
    this.#parts = parts;
    this.#judging = judging;
  }

  /** The account's own user. */
  get own(): Reader {
    const { role } = this.#judging;
    if (this.#last?.role !== role) this.#last = this.#make(role);
    return this.#last;
  }

  /** Why the reader is shown nobody; undefined: they are. */
  stopped({ account }: Reader): Refusal | undefined {
    return stopsOf(this.#parts).of(account, this.#parts.now());
  }

  stop({ account }: Reader, refusal: Refusal, until: number): void {
    stopsOf(this.#parts).stop(account, refusal, until);
  }

  #make(role: Role): Reader {
    const account = accountOf(role, this.#established);
    return { role, account, meter: this.#parts.meter(account), ahead: aheadOf(role) };
  }
}

const stops = new WeakMap<SessionParts, Stops>();

/** All sessions of a database in this process know of each other's stops. */
function stopsOf(parts: SessionParts): Stops {
  let known = stops.get(parts);
  if (known === undefined) {
    known = new Stops();
    stops.set(parts, known);
  }
  return known;
}

const MOST_AHEAD = 1_000;
const LEAST_AHEAD = 10;

/** A fifth of the smallest budget of people, but from 10 to 1,000: see docs/applications.md. */
function aheadOf({ budget }: Role): number {
  const limits = budget.flatMap(({ what, limit }) => (what === "people" ? [limit] : []));
  return Math.min(MOST_AHEAD, Math.max(LEAST_AHEAD, Math.floor(Math.min(...limits) / 5)));
}
