import type { RoleEntry } from "./format.ts";
import type { Role } from "./policy.ts";
import type { Context, Source } from "./role-sources.ts";

/** `watch` and `on_budget` of a role, which it has from its parent where it does not say them. */
export function makeWatched(
  { watch, on_budget: onBudget }: RoleEntry,
  base: Role | undefined,
): Pick<Role, "watch" | "onBudget"> {
  const isWatched = watch ?? base?.watch ?? false;
  const alerts = onBudget === undefined ? base?.onBudget === "alert" : onBudget === "alert";
  return { ...(isWatched && { watch: true }), ...(alerts && { onBudget: "alert" }) };
}

/** What a role says that is watched: nothing that would change or refuse a statement. */
export function checkWatched({ name, entry, document }: Source, role: Role, { problems }: Context): void {
  const place = (key: string) =>
    document.has(["roles", name, key]) ? document.placeOfKey(["roles", name, key]) : role.place;
  if (role.watch !== true) {
    if (entry.on_budget !== undefined)
      problems.error(
        place("on_budget"),
        `"on_budget" of role "${name}" is only for a watched role`,
        "Say watch: true, or take it out.",
      );
    return;
  }
  for (const [key, value] of [
    ["reads", role.reads],
    ["writes", role.writes],
    ["sees", role.sees],
  ] as const) {
    if (value === "all") continue;
    problems.error(
      place(key),
      `role "${name}" is watched and does not have "${key}: all"`,
      `Say ${key}: all. A role that may not do all is guarded, and its people are counted without "watch".`,
    );
  }
  for (const [key, isSaid] of [
    ["only", role.only.size > 0],
    ["require_filter", role.requireFilter.size > 0],
    ["aggregates_only", role.aggregatesOnly !== undefined],
    ["rows", role.limits.rows !== undefined],
    ["bytes", role.limits.bytes !== undefined],
    ["changes", role.limits.changes !== undefined],
  ] as const) {
    if (!isSaid) continue;
    problems.error(
      place(key),
      `role "${name}" is watched and has "${key}", which refuses or changes statements`,
      `Take "${key}" out, or "watch".`,
    );
  }
  for (const { what, rule } of role.budget) {
    if (what !== "lookups" && what !== "changes") continue;
    problems.error(
      role.place,
      `${rule} counts ${what}, which are not counted for a watched role`,
      "Count people, rows or bytes.",
    );
  }
}
