import { BudgetAlerts } from "../../guard/budget-alerts.ts";
import { type Account, accountOf, type Grant, type Meter } from "../../guard/meter.ts";
import { refusalOf } from "../../guard/refusal.ts";
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
    return sharedOf(this.#parts).stops.of(account, this.#parts.now());
  }

  /** A budget has no room for what has been shown. Gives what the reader is told; undefined: they go on. */
  usedUp({ role, account }: Reader, grant: Extract<Grant, { kind: "part" }>): Refusal | undefined {
    const { now, onBudget } = this.#parts;
    const { stops, alerts } = sharedOf(this.#parts);
    if (role.onBudget !== "alert") {
      const refusal = refusalOf(grant, account);
      stops.stop(account, refusal, grant.freesAt);
      return refusal;
    }
    const text = alerts.news(account, grant, now());
    if (text === undefined) return undefined;
    const { id: session, database, address: client, application } = this.#established;
    const { used, window } = grant;
    const reader = { user: account.user, role: role.name, database, client, session, application };
    onBudget?.({ time: now(), ...reader, used, limit: window.limit, text });
    return undefined;
  }

  #make(role: Role): Reader {
    const account = accountOf(role, this.#established);
    return { role, account, meter: this.#parts.meter(account), ahead: aheadOf(role) };
  }
}

interface Shared {
  readonly stops: Stops;
  readonly alerts: BudgetAlerts;
}

const shared = new WeakMap<SessionParts, Shared>();

/** All sessions of a database in this process know whose budgets are used up. */
function sharedOf(parts: SessionParts): Shared {
  let known = shared.get(parts);
  if (known === undefined) {
    known = { stops: new Stops(), alerts: new BudgetAlerts() };
    shared.set(parts, known);
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
