import type { Place, Role } from "../policy/policy.ts";
import { type Check, type Checked, hasPeopleBudget, listed, rolesText, warning } from "./checked.ts";

/** Tables with protected columns whose rows count no one, read by roles with a budget of people. */
export const uncountedTables: Check = (checked) => {
  const readers = new Map<string, Role[]>();
  for (const role of checked.roles.filter(hasPeopleBudget)) {
    for (const { key, classes, counts } of checked.reach(role))
      if (classes.size > 0 && !counts) readers.set(key, [...(readers.get(key) ?? []), role]);
  }
  return [...readers].map(([key, roles]) => {
    const hint = `Say whose record a row is: ${key}: { subject: … } under "tables:", a column or a path to one. A budget bounds nothing here until then.`;
    const what = `${key} has protected columns and no subject: what ${rolesText(roles)} read${roles.length === 1 ? "s" : ""} of it counts no one`;
    return warning(placeOf(checked, key, roles), what, hint);
  });
};

/** The table's own entry; for a view or child table without one, the role that reads it. */
function placeOf({ policy }: Checked, key: string, [first]: readonly Role[]): Place {
  const place = policy.tables.get(key)?.place ?? first?.place;
  if (place === undefined) throw new Error(`nobody reads ${key}`);
  return place;
}

/** A budget of people for a role that reads nothing about people. */
export const budgetOfNobody: Check = (checked) =>
  checked.roles.filter(hasPeopleBudget).flatMap((role) => {
    const reach = checked.reach(role);
    const reads = role.reads === "all" || role.reads.schemas.size + role.reads.tables.size > 0;
    // Without a database, the role may read a view whose people are those of its tables.
    const isKnown =
      checked.catalog !== undefined ||
      (role.reads !== "all" && role.reads.schemas.size === 0 && reach.length === role.reads.tables.size);
    if (!reads || !isKnown || reach.some(({ counts, classes }) => counts || classes.size > 0)) return [];
    const place = budgetPlace(checked, role);
    return [
      warning(
        place,
        `the budget of role "${role.name}" counts no one: nothing that it reads has a subject`,
        'Name the person of a row under "tables:", as in public.customers: { subject: id }.',
      ),
    ];
  });

function budgetPlace(checked: Checked, role: Role): Place {
  const keys = checked.written(role)?.keys;
  return keys?.get("budget") ?? keys?.get("role_budget") ?? keys?.get("address_budget") ?? role.place;
}

/**
 * With `unclassified: mask` or `deny`, tables without an entry: a role that names them under "reads:" sees nothing of
 * them.
 */
export const hiddenTables: Check = (checked) => {
  const { unclassified } = checked.policy;
  if (checked.catalog === undefined || unclassified === "show") return [];
  return checked.roles.flatMap((role) => {
    if (role.sees === "all" || role.reads === "all") return [];
    const { tables } = role.reads;
    const blank = checked
      .reach(role)
      .filter(
        ({ key, classes, counts, relation }) => tables.has(key) && classes.size === 0 && !counts && relation,
      )
      .map(({ key }) => key);
    if (blank.length === 0) return [];
    const how = unclassified === "mask" ? "every column of them is NULL" : "no column of them may be read";
    const place = checked.written(role)?.keys.get("reads") ?? role.place;
    return [
      warning(
        place,
        `role "${role.name}" reads ${listed(blank)}, which have no entry under "tables:": ${how} (unclassified: ${unclassified})`,
        "Give their columns a class that the role sees.",
      ),
    ];
  });
};
