import type { RoleEntry } from "./format.ts";
import type { BudgetWindow, Limits } from "./policy.ts";
import type { Context, Source } from "./role-sources.ts";
import { durationSeconds, sizeBytes } from "./units.ts";

/** A role's limits of one statement; what it does not say comes from its parent. */
export function makeLimits(entry: RoleEntry, base: Limits | undefined): Limits {
  const rows = entry.rows === undefined ? base?.rows : entry.rows === "none" ? undefined : entry.rows;
  const bytes =
    entry.bytes === undefined ? base?.bytes : entry.bytes === "none" ? undefined : sizeBytes(entry.bytes);
  return {
    ...(rows === undefined ? {} : { rows }),
    ...(bytes === undefined ? {} : { bytes }),
    onExcess: entry.on_excess ?? base?.onExcess ?? "error",
  };
}

const LONGEST_WINDOW = 366 * 86_400;

/** A role's windows, shortest first; it replaces those of its parent that it names, and `none` all of them. */
export function makeBudget(
  { name, entry, document }: Source,
  base: readonly BudgetWindow[],
  { problems }: Context,
): readonly BudgetWindow[] {
  if (entry.budget === undefined) return base;
  if (entry.budget === "none") return [];
  const named = entry.budget;
  const windows = base.filter((window) => !Object.hasOwn(named, window.name));
  for (const [key, value] of Object.entries(named)) {
    const seconds = durationSeconds(key) ?? 0;
    if (seconds > LONGEST_WINDOW) {
      problems.error(
        document.placeOfKey(["roles", name, "budget", key]),
        `${key} is too long a window`,
        "At most 366d.",
      );
    }
    const rule = `roles.${name}.budget.${key}`;
    const add = (what: BudgetWindow["what"], limit: number | undefined, path: string) => {
      if (limit !== undefined) windows.push({ name: key, seconds, what, limit, rule: path });
    };
    if (typeof value === "number") add("people", value, rule);
    else if (value !== "none") {
      add("people", value.people, `${rule}.people`);
      add("rows", value.rows, `${rule}.rows`);
    }
  }
  return windows.sort((a, b) => a.seconds - b.seconds);
}
