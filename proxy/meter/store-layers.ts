import type { Addition } from "../orders/measures.ts";
import type { BudgetWindow } from "../policy/policy.ts";
import type { Account, Batch, CounterStore } from "./meter.ts";
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

/** Charges accounts by other windows. */
function withWindows(
  inner: CounterStore,
  windowsOf: (account: Account) => readonly BudgetWindow[],
): CounterStore {
  const changed = (account: Account): Account => {
    const windows = windowsOf(account);
    return windows === account.windows ? account : { ...account, windows };
  };
  return layer(
    inner,
    (account, batch) => inner.charge(changed(account), batch),
    (account) => windowsIn(inner, changed(account)),
  );
}

function windowsIn(store: CounterStore, account: Account): readonly BudgetWindow[] {
  return store.windows?.(account) ?? account.windows;
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
  charge: CounterStore["charge"],
  windows: (account: Account) => readonly BudgetWindow[] = (account) => windowsIn(inner, account),
): CounterStore {
  return {
    charge,
    windows,
    usage: async (account) => inner.usage?.(account),
    get ready() {
      return inner.ready;
    },
    close: () => inner.close(),
  };
}
