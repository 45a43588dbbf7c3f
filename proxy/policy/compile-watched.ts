import { windowsAt } from "./compile-limits.ts";
import type { BudgetWindow, PersonSource, Role } from "./policy.ts";
import type { Context, Source } from "./role-sources.ts";

/** What is said of a watched role, which it has from its parent where it does not say it. */
export function makeWatched(
  source: Source,
  base: Role | undefined,
  context: Context,
): Pick<Role, "watch" | "onBudget" | "peopleBehind" | "unnamed"> {
  const { watch, on_budget: onBudget } = source.entry;
  const isWatched = watch ?? base?.watch ?? false;
  const alerts = onBudget === undefined ? base?.onBudget === "alert" : onBudget === "alert";
  const peopleBehind = makeSources(source, context) ?? base?.peopleBehind;
  const unnamed = makeUnnamed(source, context) ?? base?.unnamed;
  return {
    ...(isWatched && { watch: true }),
    ...(alerts && { onBudget: "alert" }),
    ...(peopleBehind && { peopleBehind }),
    ...(unnamed && { unnamed }),
  };
}

function makeSources(
  { name, entry, document }: Source,
  { problems }: Context,
): readonly PersonSource[] | undefined {
  return entry.people_behind?.flatMap((said, i): PersonSource[] => {
    if ("comment" in said) return [{ kind: "comment", key: said.comment }];
    if ("role" in said) return [{ kind: "role" }];
    if ("setting" in said) {
      const { setting } = said;
      if (typeof setting === "string") return [{ kind: "setting", name: setting }];
      return [{ kind: "setting", name: setting.name, path: setting.path.split(".") }];
    }
    const pattern = patternOf(said.application_name);
    if (pattern !== undefined) return [{ kind: "application_name", pattern }];
    problems.error(
      document.placeOf(["roles", name, "people_behind", i]),
      "application_name is no regular expression with one group",
      'As in "helpdesk/(.+)": the group is the name of the person.',
    );
    return [];
  });
}

/** Of the whole name, with one group. Undefined for what is none. */
function patternOf(text: string): RegExp | undefined {
  try {
    const groups = new RegExp(`${text}|`).exec("")?.length;
    return groups === 2 ? new RegExp(`^(?:${text})$`, "u") : undefined;
  } catch {
    return undefined;
  }
}

function makeUnnamed({ name, entry, document }: Source, context: Context): Role["unnamed"] {
  const { unnamed } = entry;
  if (unnamed === undefined || unnamed === "refuse") return unnamed;
  const { budget } = unnamed;
  const path = ["roles", name, "unnamed", "budget"];
  return { budget: budget === "none" ? [] : windowsAt(document, path, budget, context).toSorted(bySeconds) };
}

function bySeconds(a: BudgetWindow, b: BudgetWindow): number {
  return a.seconds - b.seconds;
}

/** What a role says that is watched: nothing that would change or refuse a statement. */
export function checkWatched({ name, entry, document }: Source, role: Role, { problems }: Context): void {
  const place = (key: string) =>
    document.has(["roles", name, key]) ? document.placeOfKey(["roles", name, key]) : role.place;
  if (role.watch !== true) {
    for (const key of ["on_budget", "people_behind", "unnamed"] as const) {
      if (entry[key] === undefined) continue;
      const what = `"${key}" of role "${name}" is only for a watched role`;
      problems.error(place(key), what, "Say watch: true, or take it out.");
    }
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
  if (role.unnamed !== undefined && role.peopleBehind === undefined)
    problems.error(
      place("unnamed"),
      `role "${name}" says what holds where nobody is named, and not what names people`,
      'Say "people_behind:", or take it out.',
    );
  const unnamed = typeof role.unnamed === "object" ? role.unnamed.budget : [];
  for (const { what, rule } of [...role.budget, ...unnamed]) {
    if (what !== "lookups" && what !== "changes") continue;
    problems.error(
      role.place,
      `${rule} counts ${what}, which are not counted for a watched role`,
      "Count people, rows or bytes.",
    );
  }
}
