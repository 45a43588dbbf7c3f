import { LRUCache } from "lru-cache";
import { BudgetAlerts } from "../../meter/budget-alerts.ts";
import { refusalOf } from "../../meter/budget-refusal.ts";
import { type BudgetScope, scopeOf } from "../../meter/budget-windows.ts";
import { type Account, accountOf, type Grant, type Meter } from "../../meter/meter.ts";
import { scopeParts } from "../../meter/scopes.ts";
import { Stops } from "../../meter/stops.ts";
import type { Standing } from "../../policy/acting.ts";
import type { BudgetWindow, Role } from "../../policy/policy.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import type { Judging } from "../decide/judging.ts";
import { nobodyNamed } from "../decide/naming.ts";
import { isForbidden } from "../decide/touching.ts";
import type { Person } from "../person/person.ts";
import { Advance } from "./advance.ts";
import { ofPaidRow } from "./rows-before.ts";

/** Whom a statement is charged to. */
export interface Reader {
  /** Undefined: no person is named; the account itself reads. */
  readonly person: string | undefined;
  /** Whose budgets and rules hold. */
  readonly role: Role;
  readonly account: Account;
  readonly meter: Meter;
  /** Among those of the process. */
  readonly key: string;
  /** How many people one row may show before it is known that they have room in the budgets. */
  readonly ahead: number;
  /** Those who have been shown before that is known, for each scope of the budgets. */
  readonly advances: readonly Ahead[];
}

/** What all who share a budget were shown before it is known that there is room, by any session of this process. */
export interface Ahead {
  readonly advance: Advance;
  readonly most: number;
}

/** Who reads by a session, by the policy in force. */
export class Readers {
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #judging: Judging;
  #role: Role | undefined;
  #known = new Map<string, Reader>();

  constructor(established: Established, parts: SessionParts, judging: Judging) {
    this.#established = established;
    this.#parts = parts;
    this.#judging = judging;
  }

  /** Undefined: the account itself. */
  of(named: Person | undefined): Reader {
    const { account } = this.#judging;
    if (this.#role !== account || this.#known.size >= REMEMBERED) this.#known.clear();
    this.#role = account;
    const standing = this.#judging.standing(named);
    const key = standing.person === undefined ? "" : `${standing.role.name}\0${standing.person.name}`;
    let reader = this.#known.get(key);
    if (reader === undefined) {
      reader = this.#make(standing);
      this.#known.set(key, reader);
    }
    return reader;
  }

  /** Why the reader is cut off; undefined: they are not. */
  suspended({ person }: Reader): Refusal | undefined {
    return person === undefined ? undefined : this.#parts.suspended?.(person);
  }

  /** Why the reader may not be shown people; undefined: they may. */
  stopped(reader: Reader): Refusal | undefined {
    const { role, account, person } = reader;
    const suspended = this.suspended(reader);
    if (suspended !== undefined || this.#judging.observes) return suspended;
    if (person === undefined && role.unnamed === "refuse") return nobodyNamed(role);
    return this.stops(reader)
      ? sharedOf(this.#parts).stops.of(account, () => reader.meter.windows, this.#parts.now())
      : undefined;
  }

  /**
   * Why these statements may not run: the reader is suspended; or they show people, and the reader is not named or has
   * used up a budget.
   */
  refusal(reader: Reader, shapes: readonly Statement[]): Refusal | undefined {
    const showsPeople = ({ metering, copies }: Statement) => metering !== undefined || copies !== undefined;
    if (shapes.some(showsPeople)) return this.stopped(reader);
    return shapes.some(isForbidden) ? this.suspended(reader) : undefined;
  }

  /** Whether a budget that is used up stops them, and does not only tell of it. */
  stops({ role, account }: Pick<Reader, "role" | "account">): boolean {
    if (account.windows.length === 0) return false;
    return role.onBudget !== "alert" && !this.#judging.observes;
  }

  /** A budget has no room for what has been shown. Gives what the reader is told; undefined: they go on. */
  usedUp({ role, account }: Reader, grant: Extract<Grant, { kind: "part" }>): Refusal | undefined {
    const { now, onBudget } = this.#parts;
    const { stops, alerts } = sharedOf(this.#parts);
    if (this.stops({ role, account })) {
      const refusal = refusalOf(grant, account, { stops: "all" });
      stops.stop(account, grant.window, refusal, grant.freesAt);
      return refusal;
    }
    const text = alerts.news(account, grant, now());
    if (text === undefined) return undefined;
    const { id: session, user, database, address: client, application } = this.#established;
    const { used, window } = grant;
    const reader = {
      ...{ user: account.user, role: role.name, database, client, session, application },
      ...(user !== account.user && { account: user }),
    };
    onBudget?.({ time: now(), ...reader, used, limit: window.limit, text });
    return undefined;
  }

  /** The same for what is undone then: a copy that is too large stops none that fits. */
  noRoomFor(reader: Reader, grant: Extract<Grant, { kind: "part" }>): Refusal | undefined {
    const hasRoom = grant.used < grant.window.limit;
    return hasRoom && this.stops(reader) ? refusalOf(grant, reader.account) : this.usedUp(reader, grant);
  }

  /** The statement as it counts for them: what it stores of a row that they were shown is free. */
  due({ key }: Reader, statement: Statement, row: string | undefined): Statement {
    if (row === undefined || statement.copies === undefined) return statement;
    const paid = sharedOf(this.#parts).rows.get(`${key}\0${row}`) ?? 0;
    return (statement.copiesCost ?? 1) <= paid ? ofPaidRow(statement) : statement;
  }

  /** They have been shown a row, and its person is charged to them: it is free for as long as the person is counted. */
  showed({ key, account }: Reader, row: string, cost: number): void {
    const { rows } = sharedOf(this.#parts);
    const id = `${key}\0${row}`;
    if ((rows.get(id) ?? 0) > cost) return;
    rows.set(id, cost, { ttl: shownFor(account.windows) });
  }

  #make({ role, person: named }: Standing): Reader {
    const { database, user, address } = this.#established;
    const person = named?.name;
    const account = {
      ...accountOf(role, { database, user: person ?? user, address }),
      windows: windowsOf(role, person),
    };
    const meter = this.#parts.meter(account);
    const scopes = new Set<BudgetScope>(["user", ...account.windows.map(scopeOf)]);
    const advances = [...scopes].map((scope) => this.#ahead(account, scope));
    const key = JSON.stringify(scopeParts(account, "user"));
    const ahead = Math.min(...advances.map(({ most }) => most));
    return { person, role, account, meter, key, ahead, advances };
  }

  #ahead(account: Account, scope: BudgetScope): Ahead {
    const { advances } = sharedOf(this.#parts);
    const key = JSON.stringify(scopeParts(account, scope));
    const advance = advances.get(key) ?? new Advance();
    advances.set(key, advance);
    return { advance, most: mostAhead(account.windows.filter((window) => scopeOf(window) === scope)) };
  }
}

/** Persons of an application's pool take turns on a connection. */
const REMEMBERED = 200;

function windowsOf(role: Role, person: string | undefined): readonly BudgetWindow[] {
  const isUnnamed = person === undefined && role.peopleBehind !== undefined;
  const { unnamed } = role;
  return isUnnamed && typeof unnamed === "object" && "budget" in unnamed ? unnamed.budget : role.budget;
}

interface Shared {
  readonly stops: Stops;
  readonly alerts: BudgetAlerts;
  /** What a budget counts together: a user, a role, an address. */
  readonly advances: LRUCache<string, Advance>;
  /** Rows that readers were shown, by their keys, and as how many people each was charged. */
  readonly rows: LRUCache<string, number>;
}

/** More than people who read at one time. */
const ADVANCES = 10_000;

/** What is edited in a day, about: each takes some hundred bytes. */
const ROWS = 20_000;
const DAY = 24 * 3600 * 1000;

const shared = new WeakMap<SessionParts, Shared>();

/** All sessions of a database in this process know whose budgets are used up. */
function sharedOf(parts: SessionParts): Shared {
  let known = shared.get(parts);
  if (known === undefined) {
    known = {
      stops: new Stops(),
      alerts: new BudgetAlerts(),
      advances: new LRUCache({ max: ADVANCES }),
      // Each look at the clock takes longer than all the rest.
      rows: new LRUCache({ max: ROWS, ttl: DAY, ttlResolution: 1_000 }),
    };
    shared.set(parts, known);
  }
  return known;
}

/** Until the first window of people has passed, in milliseconds. */
function shownFor(windows: readonly BudgetWindow[]): number {
  return windows.reduce(
    (least, { what, seconds }) => (what === "people" ? Math.min(least, seconds * 1000) : least),
    DAY,
  );
}

const MOST_AHEAD = 1_000;
const LEAST_AHEAD = 10;

/** A fifth of the smallest budget of people, but from 10 to 1,000: see docs/applications.md. */
export function mostAhead(windows: readonly BudgetWindow[]): number {
  const limits = windows.flatMap(({ what, limit }) => (what === "people" ? [limit] : []));
  return Math.min(MOST_AHEAD, Math.max(LEAST_AHEAD, Math.floor(Math.min(...limits) / 5)));
}
