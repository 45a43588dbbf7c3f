import type { Addition } from "../orders/measures.ts";
import type { BudgetWindow } from "../policy/policy.ts";

const made = new WeakMap<readonly BudgetWindow[], Map<string, readonly BudgetWindow[]>>();

/** The same windows with a share of their limits, rounded down; returns the same list for the same arguments. */
export function shareOf(windows: readonly BudgetWindow[], share: number): readonly BudgetWindow[] {
  return remember(windows, `${share}`, (window) => ({ ...window, limit: Math.floor(window.limit * share) }));
}

/** Like `shareOf`, for the user's own windows only: one user's conduct does not reduce other users' budgets. */
export function shareOfOwn(windows: readonly BudgetWindow[], share: number): readonly BudgetWindow[] {
  const own = (window: BudgetWindow) => (window.scope ?? "user") === "user";
  return remember(windows, `own ${share}`, (window) =>
    own(window) ? { ...window, limit: Math.floor(window.limit * share) } : window,
  );
}

/** Like `shareOfOwn`: the user's own windows of this length allow more people. */
export function withMore(
  windows: readonly BudgetWindow[],
  { people, seconds }: Addition,
): readonly BudgetWindow[] {
  const isMeant = (window: BudgetWindow) =>
    (window.scope ?? "user") === "user" && window.what === "people" && window.seconds === seconds;
  return remember(windows, `${seconds} +${people}`, (window) =>
    isMeant(window) ? { ...window, limit: window.limit + people } : window,
  );
}

/** Windows that count and stop nothing. */
export function unlimited(windows: readonly BudgetWindow[]): readonly BudgetWindow[] {
  return remember(windows, "unlimited", (window) => ({ ...window, limit: Number.MAX_SAFE_INTEGER }));
}

/** Stores cache their calculations per list of windows, so there must be few lists. */
function remember(
  windows: readonly BudgetWindow[],
  key: string,
  change: (window: BudgetWindow) => BudgetWindow,
): readonly BudgetWindow[] {
  let variants = made.get(windows);
  if (variants === undefined) {
    variants = new Map();
    made.set(windows, variants);
  }
  let variant = variants.get(key);
  if (variant === undefined) {
    variant = windows.map(change);
    variants.set(key, variant);
  }
  return variant;
}
