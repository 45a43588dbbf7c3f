import type { BudgetWindow } from "../policy/policy.ts";
import { type BudgetScope, scopeOf } from "./budget-windows.ts";
import type { Account, WindowUse } from "./meter.ts";

/** What stands for one scope of an account (`of`: for reveals of a class in it): two accounts with the same parts share its count. */
export function scopeParts(account: Account, scope: BudgetScope, of?: string): readonly string[] {
  const parts = partsOf(account, scope);
  return of === undefined ? parts : [...parts, "reveals", of];
}

function partsOf(account: Account, scope: BudgetScope): readonly string[] {
  switch (scope) {
    case "user":
      return ["user", account.database, account.user];
    case "role":
      return ["role", account.database, account.role ?? ""];
    case "address":
      return ["address", account.database, account.address ?? ""];
  }
}

/** The same for all users that one line of the policy counts together. */
export function budgetKey(account: Account, window: BudgetWindow): string {
  return JSON.stringify([...scopeParts(account, scopeOf(window)), window.rule]);
}

/** Of the windows those whose user should be told that they will be full soon. */
export function nearlyFull(uses: readonly WindowUse[]): { readonly near?: readonly WindowUse[] } {
  const near = uses.filter(({ window, used }) => window.limit > 0 && used >= 0.8 * window.limit);
  return near.length === 0 ? {} : { near };
}
