import type { Role } from "./policy.ts";
import type { Problems } from "./problems.ts";
import { placeOfKey, type RoleRule, type Source } from "./rules/rule.ts";

/** Checks what a watched role says: nothing in it may change or refuse a statement. */
export function checkWatched(
  source: Source,
  role: Role,
  rules: readonly RoleRule[],
  problems: Problems,
): void {
  for (const rule of rules) {
    const isOfPeople = rule.watched === "people";
    const hasPeople = isOfPeople && role.actsAs !== undefined;
    if (role.watch !== true && (rule.watched === "only" || (isOfPeople && !hasPeople)))
      notWatched(source, rule, problems);
    if (role.watch === true && rule.watched !== "also") restricted(source, role, rule, problems);
  }
}

function notWatched(source: Source, { keys, watched }: RoleRule, problems: Problems): void {
  for (const key of Object.keys(keys)) {
    const path = ["roles", source.name, key];
    if (!source.document.has(path)) continue;
    const what = `"${key}" of role "${source.name}" is only for a watched role${watched === "people" ? ", or one with acts_as" : ""}`;
    problems.error(source.document.placeOfKey(path), what, "Write watch: true, or remove it.");
  }
}

function restricted(source: Source, role: Role, rule: RoleRule, problems: Problems): void {
  for (const key of rule.guardedBy?.(role[rule.property]) ?? []) {
    const [what, hint] =
      rule.unrestricted === "all"
        ? [
            `is watched and does not have "${key}: all"`,
            `Say ${key}: all. A role that may not do everything is guarded, and its people are counted without "watch".`,
          ]
        : [
            `is watched and has "${key}", which refuses or changes statements`,
            `Take "${key}" out, or "watch".`,
          ];
    problems.error(placeOfKey(source, key), `role "${role.name}" ${what}`, hint);
  }
}
