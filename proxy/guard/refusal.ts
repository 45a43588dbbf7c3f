import type { BudgetWindow } from "../policy/policy.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import type { Account, Grant } from "./meter.ts";

/** What a client is told when not all of its rows may leave. */
export function refusalOf(grant: Exclude<Grant, { kind: "all" }>, account: Account): Refusal {
  switch (grant.kind) {
    case "unreachable":
      return refuse("58000", "the counters of the budgets cannot be reached", {
        detail: `User "${account.user}" has a budget, and what cannot be counted is not released.`,
        hint: "Try again in a moment. The proxy's log says why its counter store is away.",
      });
    case "part":
      return usedUp(grant, account);
  }
}

function usedUp(grant: Extract<Grant, { kind: "part" }>, account: Account): Refusal {
  const { window, used } = grant;
  const budget = `budget of ${window.limit} ${window.what} in ${window.name}`;
  const message = used < window.limit ? `${budget} has no room for the next row` : `${budget} is used up`;
  return refuse("53400", message, {
    detail: `User "${account.user}": ${used} of ${window.limit} ${window.what} used within ${window.name}. ${frees(grant)}`,
    hint: hint(window),
    rule: window.rule,
  });
}

function frees({ window, used, freesAt }: Extract<Grant, { kind: "part" }>): string {
  // An empty window that stops a row does so for good: no time to wait would help.
  if (used === 0) return `The next row needs more than ${window.limit}.`;
  return `The next row fits at ${new Date(freesAt).toISOString()}.`;
}

function hint(window: BudgetWindow): string {
  const meanwhile =
    window.what === "people"
      ? "People who are counted already stay readable. "
      : "Ask for fewer rows, or wait until earlier ones have left the window. ";
  return `${meanwhile}The policy sets this budget at ${window.rule}.`;
}
