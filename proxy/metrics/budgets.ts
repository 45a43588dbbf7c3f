import type { Registry } from "prom-client";
import type { Account, WindowUse } from "../meter/meter.ts";
import { measureText } from "../policy/policy.ts";
import { METRICS } from "./definitions.ts";
import { reading } from "./series.ts";

/** How close users are to the end of their budgets. */
export interface BudgetMetrics {
  /** Records what an account has just used of its windows. */
  budgetUsed(account: Account, uses: readonly WindowUse[]): void;
}

/** The use of one window when its user last read. For two roles or addresses of a user, that of the later read. */
interface Use {
  readonly user: string;
  readonly role: string;
  readonly unit: string;
  readonly window: string;
  readonly share: number;
  /** Prepared group keys, so that a scrape does not build a text for each of thousands of uses. */
  readonly groups: { readonly window: string; readonly reader: string };
  /** Monotonic, in milliseconds. */
  readonly until: number;
}

/** A user who has not read for this many milliseconds is no longer reported, nor is a window that has ended since. */
const LATELY_MS = 5 * 60_000;
/** The most windows that are tracked: beyond it the oldest are forgotten. */
const MOST = 20_000;

/** `topUsers`: how many users are named. `clock` is monotonic, in milliseconds. */
export function budgetMetrics(
  registry: Registry,
  topUsers: number,
  clock: () => number = () => performance.now(),
): BudgetMetrics {
  /** In the order of last use. */
  const uses = new Map<string, Use>();
  const forgetOld = () => {
    const now = clock();
    for (const [key, { until }] of uses) if (until <= now) uses.delete(key);
  };
  reading(registry, METRICS.budgetUsed, () => {
    forgetOld();
    return highest(uses.values(), "window").map((use) => ({
      labels: { role: use.role, unit: use.unit, window: use.window },
      value: use.share,
    }));
  });
  reading(registry, METRICS.budgetUserUsed, () => {
    if (topUsers === 0) return [];
    forgetOld();
    return highest(uses.values(), "reader")
      .sort((a, b) => b.share - a.share)
      .slice(0, topUsers)
      .map(({ user, role, share }) => ({ labels: { user, role }, value: share }));
  });
  return {
    budgetUsed({ database, user, role }, windows) {
      if (role === undefined) return;
      const now = clock();
      for (const { window, used } of windows) {
        const { name, seconds, limit, scope } = window;
        const unit = measureText(window);
        const key = [database, user, role, unit, name, scope].join("\0");
        uses.delete(key);
        const until = now + Math.min(LATELY_MS, seconds * 1000);
        const share = limit > 0 ? used / limit : 1;
        const groups = { window: `${role}\0${unit}\0${name}`, reader: `${user}\0${role}` };
        uses.set(key, { user, role, unit, window: name, share, until, groups });
      }
      for (const key of uses.keys()) {
        if (uses.size <= MOST) break;
        uses.delete(key);
      }
    },
  };
}

/** The use with the highest share of each group. */
function highest(uses: Iterable<Use>, by: keyof Use["groups"]): Use[] {
  const found = new Map<string, Use>();
  for (const use of uses) {
    const group = use.groups[by];
    const known = found.get(group);
    if (known === undefined || known.share < use.share) found.set(group, use);
  }
  return [...found.values()];
}
