import type { ColumnRef, Node, ResTarget } from "libpg-query";
import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { isTableCommand, mayAggregateAround } from "../bind/questions.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";

/* How the rows of a query result from those of its FROM clause. */

/** Output rows are the FROM clause's own rows, one by one: nothing is grouped, made distinct or aggregated. */
export function givesRows(statement: BoundStatement, query: BoundQuery): boolean {
  return !query.traits.isDistinct && givesRowsOrDistinct(statement, query);
}

/** Like `givesRows`, but allows a plain DISTINCT. */
export function givesDistinctRows(statement: BoundStatement, query: BoundQuery): boolean {
  return isPlainDistinct(query) && givesRowsOrDistinct(statement, query);
}

function givesRowsOrDistinct(statement: BoundStatement, query: BoundQuery): boolean {
  const { isGrouped, isAggregated } = query.traits;
  // If rows have no columns, nothing can be appended after the last one.
  const hasColumns = query.clauses.targets !== undefined && !isTableCommand(query);
  return (
    query.form === "select" &&
    query.from.length > 0 &&
    hasColumns &&
    !(isGrouped || isAggregated || mayAggregateAround(statement))
  );
}

/** Groups of the FROM clause's rows, about which only aggregates reveal anything. */
export function givesGroups(statement: BoundStatement, query: BoundQuery): boolean {
  const { clauses, traits } = query;
  if (query.form !== "select" || query.from.length === 0 || clauses.targets === undefined) return false;
  if (traits.isDistinct || traits.isWindowed || clauses.window !== undefined) return false;
  return !mayAggregateAround(statement) && (traits.isGrouped || traits.isAggregated);
}

/**
 * `SELECT DISTINCT country FROM customers` returns groups of people, one row for each country. A GROUP BY of the same
 * columns, which leaves the rows unchanged, makes it possible to ask how many people are behind each row: a value that
 * many share shows no one. All outputs must be plain columns of the query's own FROM.
 */
export function givesDistinctColumns(query: BoundQuery): boolean {
  const { targets = [], group, having, window } = query.clauses;
  if (query.form !== "select" || !isPlainDistinct(query)) return false;
  if (query.from.length === 0 || targets.length === 0) return false;
  return [group, having, window].every((clause) => clause === undefined) && targets.every(isPlainColumn);
}

function isPlainColumn(target: Node): boolean {
  const { val } = nodeOf(target)[1] as ResTarget;
  const [type, body] = val === undefined ? ["", {}] : nodeOf(val);
  return (
    type === "ColumnRef" && ((body as ColumnRef).fields ?? []).every((field) => nodeOf(field)[0] === "String")
  );
}

/** DISTINCT without ON: a list of one empty node (parser/gram.y, "distinct_clause"). */
function isPlainDistinct({ clauses: { distinct = [] } }: BoundQuery): boolean {
  const [only, ...more] = distinct;
  return only !== undefined && more.length === 0 && Object.keys(only).length === 0;
}

/**
 * Whether rows that differ in this column of the reference already differ in the selected columns, because it is one of
 * them.
 */
export function isSelected(
  { clauses: { targets = [] } }: BoundQuery,
  { alias }: BoundRelation,
  column: string,
): boolean {
  return targets.some((target) => {
    const { val } = nodeOf(target)[1] as ResTarget;
    const [type, body] = val === undefined ? [] : nodeOf(val);
    if (type !== "ColumnRef") return false;
    const { fields = [] } = body as ColumnRef;
    const isStar = fields.length > 0 && nodeOf(fields.at(-1) ?? {})[0] === "A_Star";
    const names = fields.map((field) => (nodeOf(field)[0] === "String" ? stringOf(field) : ""));
    if (fields.length === 1) return isStar;
    return names.at(-2) === alias && (isStar || names.at(-1) === column);
  });
}
