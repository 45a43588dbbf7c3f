import { relationKey } from "../catalog/catalog.ts";
import { bindUser } from "../policy/conditions.ts";
import { checkPurpose } from "../policy/purpose.ts";
import { comparable, isUnique } from "../policy/subject-path.ts";
import type { Scope } from "./scope.ts";
import type { RelationSight } from "./sight.ts";
import { quoteIdentifier, quoteQualified } from "./source.ts";
import { personSql } from "./subjects.ts";

/**
 * A condition that holds where the reader has work with the row's person; undefined where the policy names none,
 * or this user may not read what it needs. The person is found anew in the table of the condition, so that the
 * condition's names meet none of the client's: the innermost subquery is the first of its FROM clause and sees only
 * the levels around.
 */
export function purposeSql(
  scope: Scope,
  { people, relation }: RelationSight,
  alias: string,
  exposed: string,
): string | undefined {
  const { role, policy, catalog, unreadable, user } = scope;
  const subject = people?.subject;
  if (subject === undefined) return undefined;
  for (const [key, condition] of role.purpose) {
    const table = catalog.relations.get(key);
    const column = policy.tables.get(key)?.subject ?? "";
    if (table === undefined || subject.namespace !== `${key}.${column}`) continue;
    const last = subject.hops?.at(-1) ?? { relation, column: subject.column };
    const person = personSql(scope, subject, alias, exposed);
    const checked = checkPurpose(condition, table, catalog);
    if (!checked.ok || !isUnique(table, column) || person === undefined) return undefined;
    if (!comparable(catalog, last, { relation: table, column })) return undefined;
    if (
      [`${relationKey(table.schema, table.name)}.${column}`, ...checked.reads].some((each) =>
        unreadable.has(each),
      )
    )
      return undefined;
    return (
      `EXISTS (SELECT FROM (SELECT ${person} AS "sluice person") AS "sluice reader", ${quoteQualified(table.schema, table.name)} ` +
      `WHERE ${quoteIdentifier(table.name)}.${quoteIdentifier(column)} OPERATOR(pg_catalog.=) "sluice reader"."sluice person" ` +
      `AND (${bindUser(condition, user ?? "")}))`
    );
  }
  return undefined;
}
