import type { Log } from "../log.ts";
import { Debt } from "./debts.ts";
import type { Account, Batch, CounterStore, Grant, WindowUse } from "./meter.ts";
import { shareOf, unlimited } from "./shares.ts";
import { createMemoryStore, type MemoryStoreOptions } from "./store-memory.ts";

export interface GraceOptions extends MemoryStoreOptions {
  readonly log: Log;
}

const PAY_EVERY = 250;
const UNREACHABLE: Grant = { kind: "unreachable" };

/**
 * Continues for a while when the shared counters are unreachable (`on_counter_loss: grace`): each process may release a
 * share of each budget, and counts it when the counters are back.
 *
 * The bound: within any window, all instances together release at most `limit + instances × share × limit`, because the
 * allowance is a sliding window of its own that the end of an outage does not refill. An instance that is restarted
 * during an outage starts from zero and its debt is lost: it counts as one more instance.
 */
export function withGrace(shared: CounterStore, options: GraceOptions): CounterStore {
  return new GraceStore(shared, options);
}

class GraceStore implements CounterStore {
  readonly #shared: CounterStore;
  readonly #local: CounterStore;
  readonly #log: Log;
  readonly #debts = new Map<string, Debt>();
  #paying: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(shared: CounterStore, { log, ...memory }: GraceOptions) {
    this.#shared = shared;
    this.#local = createMemoryStore(memory);
    this.#log = log;
  }

  get ready(): boolean {
    return this.#shared.ready;
  }

  async charge(account: Account, batch: Batch): Promise<Grant> {
    // Debts are paid first: no one reads on while the shared counts lack them.
    if (this.#debts.size > 0 && this.#shared.ready) await this.#pay();
    const grant = this.#debts.has(keyOf(account)) ? UNREACHABLE : await this.#shared.charge(account, batch);
    if (grant.kind !== "unreachable" || account.graceShare === undefined) return grant;
    return this.#lend(account, batch, account.graceShare);
  }

  usage(account: Account): Promise<readonly WindowUse[] | undefined> {
    return this.#shared.usage?.(account) ?? Promise.resolve(undefined);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#shared.ready) await this.#pay();
    await this.#local.close();
    await this.#shared.close();
  }

  async #lend(account: Account, batch: Batch, share: number): Promise<Grant> {
    const windows = shareOf(account.windows, share);
    const grant = await this.#local.charge({ ...account, windows }, batch);
    const rows = grant.kind === "all" ? batch.rows : grant.kind === "part" ? grant.rows : 0;
    if (rows > 0) this.#note(account, batch, rows);
    return lent(grant);
  }

  #note(account: Account, batch: Batch, rows: number): void {
    const { database, user } = account;
    const key = keyOf(account);
    let debt = this.#debts.get(key);
    if (debt === undefined) {
      debt = new Debt(account);
      this.#debts.set(key, debt);
      this.#log.warn(
        { user, database },
        "the counters are unavailable: users may read within the policy's grace",
      );
    }
    debt.account = account;
    debt.add(batch, rows);
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => void (this.#shared.ready && this.#pay()), PAY_EVERY);
    this.#timer.unref();
  }

  #pay(): Promise<void> {
    this.#paying ??= this.#payAll().finally(() => {
      this.#paying = undefined;
    });
    return this.#paying;
  }

  async #payAll(): Promise<void> {
    for (const [key, debt] of this.#debts) {
      const account = { ...debt.account, windows: unlimited(debt.account.windows) };
      await debt.pay(async (batch) => (await this.#shared.charge(account, batch)).kind === "all");
      if (!debt.isPaid) return;
      this.#debts.delete(key);
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** How full the share is says nothing about the budget. */
function lent(grant: Grant): Grant {
  switch (grant.kind) {
    case "all":
      return { kind: "all" };
    case "part": {
      const { near: _, ...rest } = grant;
      return { ...rest, isLent: true };
    }
    case "unreachable":
      return grant;
  }
}

function keyOf({ database, user, role, address }: Account): string {
  return [database, user, role, address].join("\0");
}
