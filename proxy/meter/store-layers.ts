import type { Addition } from "../orders/measures.ts";
import type { Account, Batch, CounterStore, Grant } from "./meter.ts";
import { shareOfOwn, withMore } from "./shares.ts";

/** The share of their own budgets that a tightened user keeps: enough for an ordinary day, too little for a thief. */
export const TIGHTENED_SHARE = 0.5;

/** Halves the budgets of users that a rule has tightened. */
export function withTightening(inner: CounterStore, isTightened: (user: string) => boolean): CounterStore {
  return layer(inner, (account, batch) => {
    if (!isTightened(account.user)) return inner.charge(account, batch);
    return inner.charge({ ...account, windows: shareOfOwn(account.windows, TIGHTENED_SHARE) }, batch);
  });
}

/** Adds an operator's grants to users' budgets. */
export function withGrants(
  inner: CounterStore,
  grantOf: (user: string) => Addition | undefined,
): CounterStore {
  return layer(inner, (account, batch) => {
    const more = grantOf(account.user);
    if (more === undefined) return inner.charge(account, batch);
    return inner.charge({ ...account, windows: withMore(account.windows, more) }, batch);
  });
}

/** Reports every released row with its people as the database names them, which must not be logged. */
export function withReadings(
  inner: CounterStore,
  released: (account: Account, batch: Batch, rows: number) => void,
): CounterStore {
  return layer(inner, async (account, batch) => {
    const grant = await inner.charge(account, batch);
    const rows = grant.kind === "all" ? batch.rows : grant.kind === "part" ? grant.rows : 0;
    if (rows > 0 && speaksOfPeople(batch)) released(account, batch, rows);
    return grant;
  });
}

/** Rows, or people who are paid for before their rows arrive. */
function speaksOfPeople({ counts = "rows", people }: Batch): boolean {
  return counts === "rows" || (counts === "price" && people.length > 0);
}

function layer(
  inner: CounterStore,
  charge: (account: Account, batch: Batch) => Promise<Grant>,
): CounterStore {
  return {
    charge,
    usage: async (account) => inner.usage?.(account),
    get ready() {
      return inner.ready;
    },
    close: () => inner.close(),
  };
}
