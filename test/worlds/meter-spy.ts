import type { Account, Batch, CounterStore, Grant } from "../../proxy/guard/meter.ts";
import { createMemoryStore } from "../../proxy/guard/store-memory.ts";
import { PERSON } from "../../proxy/prices.ts";

/** A store in memory that remembers whom it was asked about, and can say what an account has used. */
export class MeterSpy implements CounterStore {
  readonly ready = true;
  readonly #store: CounterStore;
  readonly #accounts = new Map<string, Account>();
  readonly #named = new Map<string, Set<string>>();
  /** Units that were spent: whole people of them are among those used. */
  readonly #units = new Map<string, number>();

  constructor(now?: () => number) {
    this.#store = createMemoryStore(now === undefined ? {} : { now });
  }

  async charge(account: Account, batch: Batch): Promise<Grant> {
    const key = keyOf(account.database, account.user);
    this.#accounts.set(key, account);
    const grant = await this.#store.charge(account, batch);
    const rows = grant.kind === "all" ? batch.rows : grant.kind === "part" ? grant.rows : 0;
    const named = this.#named.get(key) ?? new Set<string>();
    for (const person of batch.people.slice(0, rows * batch.namespaces.length)) named.add(person);
    this.#named.set(key, named);
    const spent = (batch.units ?? []).slice(0, rows).reduce((sum, units) => sum + units, 0);
    this.#units.set(key, (this.#units.get(key) ?? 0) + spent);
    return grant;
  }

  async usage(account: Account) {
    return this.#store.usage?.(account);
  }

  /** What a user has used of their longest budget of people, fractions too. */
  async used(database: string, user: string): Promise<number> {
    const uses = await this.uses(database, user);
    const people = uses.filter(({ window }) => window.what === "people").map(({ used }) => used);
    return Math.max(0, ...people) + ((this.#units.get(keyOf(database, user)) ?? 0) % PERSON) / PERSON;
  }

  /** What a user has used of each budget. */
  async uses(database: string, user: string) {
    const account = this.#accounts.get(keyOf(database, user));
    return account === undefined ? [] : ((await this.#store.usage?.(account)) ?? []);
  }

  /** Whom a user's rows have named so far. */
  named(database: string, user: string): ReadonlySet<string> {
    return this.#named.get(keyOf(database, user)) ?? new Set();
  }

  async close(): Promise<void> {
    await this.#store.close();
  }
}

function keyOf(database: string, user: string): string {
  return `${database}\0${user}`;
}
