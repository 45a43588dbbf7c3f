import type { Catalog } from "../catalog/catalog.ts";
import { parseCondition } from "../policy/expressions.ts";
import { type Policy, type Role, relationSetHas } from "../policy/policy.ts";
import { type PolicyProblem, sortProblems } from "../policy/problems.ts";

/**
 * Warns where who sees a class `when` a condition holds may write what the condition is made of: `assignee =
 * :user` protects nothing from a role that may assign any ticket to itself.
 */
export function checkWritableConditions(policy: Policy, catalog: Catalog): readonly PolicyProblem[] {
  return sortProblems([...policy.roles.values()].flatMap((role) => ofRole(role, policy, catalog)));
}

function ofRole(role: Role, policy: Policy, catalog: Catalog): readonly PolicyProblem[] {
  if (role.sees === "all") return [];
  const { sees } = role;
  return [...sees].flatMap(([className, condition]): readonly PolicyProblem[] => {
    if (condition === "always") return [];
    const parsed = parseCondition(condition.sql);
    if (!parsed.ok) return [];
    return [...policy.tables.values()].flatMap((table): readonly PolicyProblem[] => {
      const relation = catalog.relations.get(table.name);
      if (relation === undefined || ![...table.columns.values()].includes(className)) return [];
      if (!relationSetHas(role.writes, relation.schema, relation.name)) return [];
      // A masked column may not be assigned.
      const writable = parsed.use.columns.find((name) => {
        const own = table.columns.get(name);
        const isThere = relation.columns.some((column) => column.name === name);
        return isThere && (own === undefined || sees.get(own) === "always");
      });
      if (writable === undefined) return [];
      return [
        {
          severity: "warning",
          place: condition.place,
          message: `role "${role.name}" sees class "${className}" by a condition on ${table.name}.${writable}, which it may write itself`,
          hint: `It can set ${writable} so that the condition holds, and read any row; take ${table.name} out of "writes:", or revoke UPDATE (${writable}) from its users in the database.`,
        },
      ];
    });
  });
}
