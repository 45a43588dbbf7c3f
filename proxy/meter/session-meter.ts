import { performance } from "node:perf_hooks";
import { LRUCache } from "lru-cache";
import type { BudgetWindow } from "../policy/policy.ts";
import type { Refusal } from "../wire/refusal.ts";
import { nearlyUsedUp } from "./budget-refusal.ts";
import { graceOf, spansOf } from "./budget-windows.ts";
import { costOf } from "./costs.ts";
import type { Account, Batch, CounterStore, Grant, Meter, Price, Reveal, WindowUse } from "./meter.ts";
import { scopeParts } from "./scopes.ts";
import { windowsIn } from "./store-layers.ts";

const ALL: Grant = { kind: "all" };

/** How many people are remembered per user, and for how many users: beyond this a read only costs a round trip. */
const PEOPLE_REMEMBERED = 20_000;
const USERS_REMEMBERED = 10_000;
/** More than the number of statements that a user's windows and widgets repeat. */
const ANSWERS_REMEMBERED = 200;

/** Creates one session's meter. `clock` is monotonic, in milliseconds. */
export function createMeter(
  store: CounterStore,
  account: Account,
  clock: () => number = () => performance.now(),
): Meter {
  return new SessionMeter(store, account, clock);
}

class SessionMeter implements Meter {
  readonly #store: CounterStore;
  readonly #account: Account;
  readonly #clock: () => number;
  readonly #counted: Counted;
  readonly #countsPeople: boolean;
  /** Classes whose reveals are counted. */
  readonly #reveals: ReadonlySet<string>;
  readonly #countsAmounts: boolean;
  readonly #counts: ReadonlySet<BudgetWindow["what"]>;
  /** Windows that were reported as nearly full and still are. */
  #warned = new Set<string>();
  #warning: WindowUse | undefined;

  constructor(store: CounterStore, account: Account, clock: () => number) {
    this.#store = store;
    this.#account = account;
    this.#clock = clock;
    const measures = new Set(account.windows.map((window) => window.what));
    this.#countsPeople = measures.has("people");
    this.#reveals = new Set(account.windows.flatMap(({ of }) => of ?? []));
    this.#countsAmounts = measures.has("rows") || measures.has("bytes");
    this.#counts = measures;
    this.#counted = countedOf(store, account);
  }

  charge(batch: Batch): Grant | Promise<Grant> {
    if (batch.rows === 0) return ALL;
    return this.#needsTrip(batch) ? this.#trip(batch) : ALL;
  }

  amount(what: "lookups" | "changes", count: number): Grant | Promise<Grant> {
    if (count === 0 || !this.#counts.has(what)) return ALL;
    const nobody = { people: [], namespaces: [], unknownPerRow: 0, counts: what } as const;
    // A write is committed completely or not at all, and is counted in the same way.
    return this.#trip(
      what === "changes" ? { ...nobody, rows: 1, amount: count } : { ...nobody, rows: count },
    );
  }

  price({ people, namespaces, units, cost = 1 }: Price): Grant | Promise<Grant> {
    if (!this.#countsPeople) return ALL;
    const batch: Batch = {
      rows: 1,
      people,
      namespaces,
      unknownPerRow: 0,
      cost,
      counts: "price",
      ...(units > 0 && { units: [units] }),
    };
    return units > 0 || !this.#counted.hasAll(batch, this.#clock()) ? this.#trip(batch) : ALL;
  }

  get windows(): readonly BudgetWindow[] {
    return windowsIn(this.#store, this.#account);
  }

  recall(question: string): string | undefined {
    return this.#counted.answers.get(question);
  }

  remember(question: string, answer: string): void {
    this.#counted.answers.set(question, answer);
  }

  takeWarning(): Refusal | undefined {
    const warning = this.#warning;
    this.#warning = undefined;
    return warning && nearlyUsedUp(warning, this.#account);
  }

  #needsTrip(batch: Batch): boolean {
    if (this.#countsAmounts || !this.#counted.hasRevealed(batch, this.#reveals, this.#clock())) return true;
    if (!this.#countsPeople) return false;
    if (batch.unknownPerRow > 0 || batch.units !== undefined) return true;
    return !this.#counted.hasAll(batch, this.#clock());
  }

  async #trip(batch: Batch): Promise<Grant> {
    // Read before the store reads its own clock, so that a person is never remembered for too long.
    const at = this.#clock();
    const grant = await this.#store.charge(this.#account, batch);
    if (grant.kind === "unreachable") return grant;
    const rows = grant.kind === "all" ? batch.rows : grant.rows;
    if (this.#countsPeople) this.#counted.add(batch, rows, at);
    this.#counted.addRevealed(batch, this.#reveals, rows, at);
    this.#notice(grant.near ?? []);
    return grant;
  }

  /** Reports only the fullest of several windows; a window that has emptied in between may be reported again. */
  #notice(near: readonly WindowUse[]): void {
    const fresh = near.filter(({ window }) => !this.#warned.has(window.rule));
    this.#warned = new Set(near.map(({ window }) => window.rule));
    const share = ({ window, used }: WindowUse) => used / window.limit;
    this.#warning = fresh.toSorted((a, b) => share(b) - share(a))[0] ?? this.#warning;
  }
}

/** The people whom one user's sessions in this process have counted within the grace period. */
class Counted {
  /** Time of the last round trip by person, in the order of these times. */
  readonly #people = new Map<string, number>();
  /** Digests of the latest questions and answers. */
  readonly answers = new LRUCache<string, string>({ max: ANSWERS_REMEMBERED });
  #grace = Number.POSITIVE_INFINITY;

  /** Two roles of one user may have different windows: the shorter grace period applies to both. */
  limitGrace(grace: number): void {
    this.#grace = Math.min(this.#grace, grace);
  }

  hasAll(batch: Batch, now: number): boolean {
    const width = batch.namespaces.length;
    for (let i = 0; i < batch.rows * width; i++) {
      const person = personAt(batch, i);
      if (person === undefined) continue;
      const at = this.#people.get(pricedAs(person, costOf(batch)));
      if (at === undefined || now - at >= this.#grace) return false;
    }
    return true;
  }

  add(batch: Batch, rows: number, at: number): void {
    const width = batch.namespaces.length;
    for (let i = 0; i < rows * width; i++) {
      const person = personAt(batch, i);
      if (person === undefined) continue;
      this.#note(person, at);
      if (costOf(batch) > 1) this.#note(pricedAs(person, costOf(batch)), at);
    }
    this.#forget(at);
  }

  /** Whether each reveal of these classes is of a person whose value was turned back a moment ago. */
  hasRevealed({ reveals = [] }: Batch, classes: ReadonlySet<string>, now: number): boolean {
    return reveals.every((reveal) => {
      if (!classes.has(reveal.of)) return true;
      const key = revealedAs(reveal);
      const at = key === undefined ? undefined : this.#people.get(key);
      return at !== undefined && now - at < this.#grace;
    });
  }

  addRevealed({ reveals = [] }: Batch, classes: ReadonlySet<string>, rows: number, at: number): void {
    for (const reveal of reveals) {
      const key = reveal.row < rows && classes.has(reveal.of) ? revealedAs(reveal) : undefined;
      if (key !== undefined) this.#note(key, at);
    }
    this.#forget(at);
  }

  #forget(at: number): void {
    for (const [person, counted] of this.#people) {
      if (at - counted < this.#grace && this.#people.size <= PEOPLE_REMEMBERED) break;
      this.#people.delete(person);
    }
  }

  /** A slow, earlier round trip must not make a later one look older. */
  #note(key: string, at: number): void {
    const known = this.#people.get(key);
    if (known !== undefined) {
      if (known >= at) return;
      this.#people.delete(key);
    }
    this.#people.set(key, at);
  }
}

/** A person counted as five may be read again as five or as one, but not as ten. */
function pricedAs(person: string, cost: number): string {
  return cost === 1 ? person : `${person}\0${cost}`;
}

/** Undefined for someone unknown. A name space of people is never empty, so this is no person's own key. */
function revealedAs({ of, namespace, identity }: Reveal): string | undefined {
  return identity === undefined ? undefined : `\0${of}\0${namespace}\0${identity}`;
}

/** A person's key: the name space and the identity; undefined if the subject is NULL. */
function personAt(batch: Batch, index: number): string | undefined {
  const identity = batch.people[index];
  if (identity === undefined || identity === "") return undefined;
  return `${batch.namespaces[index % batch.namespaces.length]}\0${identity}`;
}

const memories = new WeakMap<CounterStore, LRUCache<string, Counted>>();

/** The people counted by all sessions of a user; shared between them, with the lifetime of the store. */
function countedOf(store: CounterStore, account: Account): Counted {
  let users = memories.get(store);
  if (users === undefined) {
    users = new LRUCache({ max: USERS_REMEMBERED });
    memories.set(store, users);
  }
  // A person counted for this user here is not counted for their other role or for another address.
  const scopes = spansOf(account.windows).scopes.map(({ scope, of }) => scopeParts(account, scope, of));
  const key = [account.database, account.user, ...scopes.flat()].join("\0");
  let counted = users.get(key);
  if (counted === undefined) {
    counted = new Counted();
    users.set(key, counted);
  }
  counted.limitGrace(graceOf(account.windows));
  return counted;
}
