import { type Relation, relationKey } from "../catalog/catalog.ts";
import { quoteIdentifier, quoteQualified } from "../pg/quote.ts";
import { bindUser } from "../policy/bind-user.ts";
import type { Condition } from "../policy/policy.ts";
import { checkPurpose } from "../policy/purpose-condition.ts";
import { comparable, isUnique } from "../policy/subject-path.ts";
import type { Scope } from "./scope.ts";
import type { RelationSight } from "./sight.ts";
import { canBeNamed, personSql, type Subject } from "./subjects.ts";

/**
 * Defines which people a role's users work with: a condition on the table of people, and the column that identifies
 * people there.
 */
export interface Purpose {
  readonly condition: Condition;
  readonly table: Relation;
  readonly column: string;
}

/** Undefined if the policy names none for the row's person, or if this user may not read the columns that it needs. */
export function purposeOf(
  scope: Scope,
  { people, relation }: RelationSight,
  alias: string,
): Purpose | undefined {
  const { role, policy, catalog, unreadable } = scope;
  const subject = people?.subject;
  if (subject === undefined) return undefined;
  for (const [key, condition] of role.purpose) {
    const table = catalog.relations.get(key);
    const column = policy.tables.get(key)?.subject ?? "";
    if (table === undefined || subject.namespace !== `${key}.${column}`) continue;
    const last = subject.hops?.at(-1) ?? { relation, column: subject.column };
    const checked = checkPurpose(condition, table, catalog);
    if (!checked.ok || !isUnique(table, column)) return undefined;
    if ((subject.hops ?? []).length > 0 && !canBeNamed(scope, subject, alias)) return undefined;
    if (!comparable(catalog, last, { relation: table, column })) return undefined;
    const reads = [`${relationKey(table.schema, table.name)}.${column}`, ...checked.reads];
    return reads.some((each) => unreadable.has(each)) ? undefined : { condition, table, column };
  }
  return undefined;
}

/**
 * The condition that is true if the user has work with the row's person. It looks the person up again in the
 * condition's own table, so that the condition's names cannot clash with the client's: the innermost subquery is the
 * first in its FROM clause and sees only the levels around it.
 */
export function purposeSql(
  scope: Scope,
  { condition, table, column }: Purpose,
  subject: Subject,
  alias: string,
  exposed: string,
): string {
  const person = personSql(scope, subject, alias, exposed);
  if (person === undefined) throw new Error("a person who cannot be named");
  return (
    `EXISTS (SELECT FROM (SELECT ${person} AS "sluice person") AS "sluice reader", ${quoteQualified(table.schema, table.name)} ` +
    `WHERE ${quoteIdentifier(table.name)}.${quoteIdentifier(column)} OPERATOR(pg_catalog.=) "sluice reader"."sluice person" ` +
    `AND (${bindUser(condition, scope.user ?? "")}))`
  );
}
