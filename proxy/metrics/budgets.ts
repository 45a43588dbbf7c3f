import type { Registry } from "prom-client";
import type { Account, WindowUse } from "../guard/meter.ts";
import { METRICS } from "./definitions.ts";
import { reading } from "./series.ts";

/** How near users are to the end of their budgets. */
export interface BudgetMetrics {
  /** What an account has used of its windows just now. */
  budgetUsed(account: Account, uses: readonly WindowUse[]): void;
}

/** What was used of one window when its user last read. Of two roles or addresses of his it is the later one's. */
interface Use {
  readonly user: string;
  readonly role: string;
  readonly unit: string;
  readonly window: string;
  readonly share: number;
  /** Monotonic, in milliseconds. */
  readonly until: number;
}

/** Who has not read for so long is not looked at any more, nor a window that is over since. */
const LATELY_MS = 5 * 60_000;
/** More windows of users are not kept apart: the oldest are forgotten. */
const MOST = 20_000;

/** `topUsers`: how many are named. `clock` is monotonic, in milliseconds. */
export function budgetMetrics(
  registry: Registry,
  topUsers: number,
  clock: () => number = () => performance.now(),
): BudgetMetrics {
  /** In the order in which they were last used. */
  const uses = new Map<string, Use>();
  const current = (): readonly Use[] => {
    const now = clock();
    for (const [key, { until }] of uses) if (until <= now) uses.delete(key);
    return [...uses.values()];
  };
  reading(registry, METRICS.budgetUsed, () =>
    highest(current(), ({ role, unit, window }) => ({ role, unit, window })),
  );
  reading(registry, METRICS.budgetUserUsed, () =>
    highest(current(), ({ user, role }) => ({ user, role }))
      .toSorted((a, b) => b.value - a.value)
      .slice(0, topUsers),
  );
  return {
    budgetUsed({ database, user, role }, windows) {
      if (role === undefined) return;
      const now = clock();
      for (const { window, used } of windows) {
        const { name, what: unit, seconds, limit, scope } = window;
        const key = [database, user, role, unit, name, scope].join("\0");
        uses.delete(key);
        const until = now + Math.min(LATELY_MS, seconds * 1000);
        uses.set(key, { user, role, unit, window: name, share: limit > 0 ? used / limit : 1, until });
      }
      for (const key of uses.keys()) {
        if (uses.size <= MOST) break;
        uses.delete(key);
      }
    },
  };
}

/** The highest share of all that have the same labels. */
function highest(
  uses: readonly Use[],
  labelsOf: (use: Use) => Readonly<Record<string, string>>,
): readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[] {
  const found = new Map<string, { labels: Readonly<Record<string, string>>; value: number }>();
  for (const use of uses) {
    const labels = labelsOf(use);
    const key = Object.values(labels).join("\0");
    const known = found.get(key);
    if (known === undefined) found.set(key, { labels, value: use.share });
    else known.value = Math.max(known.value, use.share);
  }
  return [...found.values()];
}
