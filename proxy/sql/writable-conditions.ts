import type { Catalog } from "../catalog/catalog.ts";
import type { Place, Policy, Role } from "../policy/policy.ts";
import { type PolicyProblem, sortProblems, suggest } from "../policy/problems.ts";
import { ownRights } from "./own-rights.ts";

/**
 * Finds mistakes in `writes_own_conditions`: columns that do not exist, and columns on which no condition of the role
 * depends. Neither kind opens anything.
 */
export function checkWritableConditions(policy: Policy, catalog: Catalog): readonly PolicyProblem[] {
  const roles = [...policy.roles.values()];
  return sortProblems(
    roles.flatMap((role) =>
      [...role.writesOwnConditions].flatMap(([text, place]) => {
        const sharing = roles.filter((other) => other.writesOwnConditions.get(text) === place);
        // Roles that inherit the line are reported together with the first.
        if (sharing[0] !== role) return [];
        const found = missing(text, role, place, catalog) ?? unused(text, place, sharing, policy, catalog);
        return found === undefined ? [] : [found];
      }),
    ),
  );
}

/** Splits `public.tickets.assignee` into its parts. */
function partsOf(text: string): { readonly table: string; readonly column: string } {
  const dot = text.lastIndexOf(".");
  return { table: text.slice(0, dot), column: text.slice(dot + 1) };
}

function missing(text: string, role: Role, place: Place, catalog: Catalog): PolicyProblem | undefined {
  const { table, column } = partsOf(text);
  const relation = catalog.relations.get(table);
  const message = `"writes_own_conditions" of role "${role.name}" names ${text}, which is not in "${catalog.database}"`;
  if (relation === undefined)
    return { severity: "warning", place, message, hint: suggest(table, catalog.relations.keys(), "") };
  const names = relation.columns.map(({ name }) => name);
  if (column === "*" || names.includes(column)) return undefined;
  return { severity: "warning", place, message, hint: suggest(column, names, "") };
}

/** A role may inherit the line without the condition: the line is useful if any role needs it. */
function unused(
  text: string,
  place: Place,
  sharing: readonly Role[],
  policy: Policy,
  catalog: Catalog,
): PolicyProblem | undefined {
  const { table, column } = partsOf(text);
  const isUsed = sharing.some((role) => {
    const used = ownRights(role, policy, catalog).used.get(table);
    return column === "*" ? used !== undefined : used?.has(column) === true;
  });
  if (isUsed) return undefined;
  const names = sharing.map(({ name }) => `"${name}"`).join(", ");
  return {
    severity: "warning",
    place,
    message: `no condition of role ${names} depends on ${text}`,
    hint: 'Take it out of "writes_own_conditions:": "writes:" alone lets the role write it.',
  };
}
