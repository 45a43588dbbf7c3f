import type { Addition } from "../orders/measures.ts";
import type { BudgetWindow } from "../policy/policy.ts";
import type { Account, Batch, CounterStore, Grant } from "./meter.ts";
import { shareOfOwn, withMore } from "./shares.ts";

/** The share of their own budgets that a tightened user keeps: enough for an ordinary day, too little for a thief. */
export const TIGHTENED_SHARE = 0.5;

/** Halves the budgets of users that a rule has tightened. */
export function withTightening(inner: CounterStore, isTightened: (user: string) => boolean): CounterStore {
  return withWindows(inner, ({ user, windows }) =>
    isTightened(user) ? shareOfOwn(windows, TIGHTENED_SHARE) : windows,
  );
}

/** Adds an operator's grants to users' budgets. */
export function withGrants(
  inner: CounterStore,
  grantOf: (user: string) => Addition | undefined,
): CounterStore {
  return withWindows(inner, ({ user, windows }) => {
    const more = grantOf(user);
    return more === undefined ? windows : withMore(windows, more);
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

function withWindows(
  inner: CounterStore,
  changed: (account: Account) => readonly BudgetWindow[],
): CounterStore {
  const within = (account: Account): Account => {
    const windows = changed(account);
    return windows === account.windows ? account : { ...account, windows };
  };
  return layer(inner, (account, batch) => inner.charge(within(account), batch), within);
}

function layer(
  inner: CounterStore,
  charge: (account: Account, batch: Batch) => Promise<Grant>,
  within = (account: Account) => account,
): CounterStore {
  return {
    charge,
    windowsOf: (account) => windowsIn(inner, within(account)),
    usage: async (account) => inner.usage?.(account),
    get ready() {
      return inner.ready;
    },
    close: () => inner.close(),
  };
}

/** The budgets by which a store counts an account. */
export function windowsIn(store: CounterStore, account: Account): readonly BudgetWindow[] {
  return store.windowsOf?.(account) ?? account.windows;
}
