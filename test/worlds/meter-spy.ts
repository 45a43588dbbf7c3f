import type { Account, Batch, CounterStore, Grant } from "../../proxy/meter/meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { PERSON } from "../../proxy/policy/price-units.ts";

/** A store in memory that records whom it was asked about, and can report what an account has used. */
export class MeterSpy implements CounterStore {
  readonly ready = true;
  readonly #store: CounterStore;
  readonly #accounts = new Map<string, Account>();
  readonly #named = new Map<string, Set<string>>();
  /** Units that were spent: whole people made of them are included in the use. */
  readonly #units = new Map<string, number>();

  constructor(now?: () => number) {
    // A long run counts more people than a proxy would: a full store would refuse everything, and nothing would be
    // tested.
    this.#store = createMemoryStore({ ...(now && { now }), maxPeople: Number.POSITIVE_INFINITY });
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

  /** How much of their longest budget of people a user has used, including fractions. */
  async used(database: string, user: string): Promise<number> {
    const uses = await this.uses(database, user);
    const people = uses.filter(({ window }) => window.what === "people").map(({ used }) => used);
    return Math.max(0, ...people) + ((this.#units.get(keyOf(database, user)) ?? 0) % PERSON) / PERSON;
  }

  /** How much of each budget a user has used. */
  async uses(database: string, user: string) {
    const account = this.#accounts.get(keyOf(database, user));
    return account === undefined ? [] : ((await this.#store.usage?.(account)) ?? []);
  }

  /** The people whom a user's rows have named so far. */
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
