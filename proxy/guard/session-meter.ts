import { performance } from "node:perf_hooks";
import { LRUCache } from "lru-cache";
import type { Account, Batch, CounterStore, Grant, Meter } from "./meter.ts";
import { graceOf } from "./windows.ts";

const ALL: Grant = { kind: "all" };

/** Who is remembered for a user at most, and for how many users: beyond it a read costs a trip, no more. */
const PEOPLE_REMEMBERED = 20_000;
const USERS_REMEMBERED = 10_000;

/** One session's meter. `clock` is monotonic, in milliseconds. */
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
  readonly #countsRows: boolean;

  constructor(store: CounterStore, account: Account, clock: () => number) {
    this.#store = store;
    this.#account = account;
    this.#clock = clock;
    this.#countsPeople = account.windows.some((window) => window.what === "people");
    this.#countsRows = account.windows.some((window) => window.what === "rows");
    this.#counted = countedOf(store, account);
  }

  charge(batch: Batch): Grant | Promise<Grant> {
    if (batch.rows === 0) return ALL;
    return this.#needsTrip(batch) ? this.#trip(batch) : ALL;
  }

  #needsTrip(batch: Batch): boolean {
    if (this.#countsRows) return true;
    if (!this.#countsPeople) return false;
    if (batch.unknownPerRow > 0) return true;
    return !this.#counted.hasAll(batch, this.#clock());
  }

  async #trip(batch: Batch): Promise<Grant> {
    // Taken before the store's own clock is read, so that a person is never remembered too long.
    const at = this.#clock();
    const grant = await this.#store.charge(this.#account, batch);
    if (this.#countsPeople && grant.kind !== "unreachable") {
      this.#counted.add(batch, grant.kind === "all" ? batch.rows : grant.rows, at);
    }
    return grant;
  }
}

/** Whom one user's sessions in this process counted within the grace. */
class Counted {
  /** Time of the last trip by person, in the order of these times. */
  readonly #people = new Map<string, number>();
  #grace = Number.POSITIVE_INFINITY;

  /** Two roles of one user may have different windows: the shortest grace holds for both. */
  limitGrace(grace: number): void {
    this.#grace = Math.min(this.#grace, grace);
  }

  hasAll(batch: Batch, now: number): boolean {
    const width = batch.namespaces.length;
    for (let i = 0; i < batch.rows * width; i++) {
      const person = personAt(batch, i);
      if (person === undefined) continue;
      const at = this.#people.get(person);
      if (at === undefined || now - at >= this.#grace) return false;
    }
    return true;
  }

  add(batch: Batch, rows: number, at: number): void {
    const width = batch.namespaces.length;
    for (let i = 0; i < rows * width; i++) {
      const person = personAt(batch, i);
      // A slower, earlier trip must not make a later one look older.
      if (person === undefined || (this.#people.get(person) ?? Number.NEGATIVE_INFINITY) >= at) continue;
      this.#people.delete(person);
      this.#people.set(person, at);
    }
    for (const [person, counted] of this.#people) {
      if (at - counted < this.#grace && this.#people.size <= PEOPLE_REMEMBERED) break;
      this.#people.delete(person);
    }
  }
}

/** A person's key: the name space and the identity; undefined where the subject is NULL. */
function personAt(batch: Batch, index: number): string | undefined {
  const identity = batch.people[index];
  if (identity === undefined || identity === "") return undefined;
  return `${batch.namespaces[index % batch.namespaces.length]}\0${identity}`;
}

const memories = new WeakMap<CounterStore, LRUCache<string, Counted>>();

/** All sessions of a user share what they counted; it lives as long as the store. */
function countedOf(store: CounterStore, account: Account): Counted {
  let users = memories.get(store);
  if (users === undefined) {
    users = new LRUCache({ max: USERS_REMEMBERED });
    memories.set(store, users);
  }
  const key = `${account.database}\0${account.user}`;
  let counted = users.get(key);
  if (counted === undefined) {
    counted = new Counted();
    users.set(key, counted);
  }
  counted.limitGrace(graceOf(account.windows));
  return counted;
}
