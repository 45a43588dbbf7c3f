import { quoteIdentifier, quoteQualified } from "../../pg/quote.ts";
import type { RelationSight } from "../sight.ts";

/** The parts between a relation's name and its conditions. */
export interface SubqueryParts {
  readonly only: boolean;
  /** The TABLESAMPLE clause; empty if there is none. */
  readonly sample: string;
  readonly conditions: readonly string[];
  readonly systemColumns: readonly string[];
  /** The statement's plan is shown. */
  readonly isPlan: boolean;
}

/** The target list of the subquery: the same columns in the same order, with the protected ones masked. */
function targetList({ columns }: RelationSight, { systemColumns, isPlan }: SubqueryParts): string {
  const seen = columns.flatMap(({ kind, sql, planSql, column }) => {
    if (kind === "absent") return [];
    return [kind === "real" ? sql : `${isPlan ? planSql : sql} AS ${quoteIdentifier(column.name)}`];
  });
  return [...seen, ...systemColumns].join(", ");
}

/**
 * The subquery that replaces a guarded relation. With a row filter it is fenced by OFFSET 0. Otherwise the planner
 * could run the client's own conditions on rows that the filter hides, and their errors would reveal those rows.
 */
export function subquery(
  sight: RelationSight,
  parts: SubqueryParts,
): { readonly text: string; readonly list: string } {
  const { only, sample, conditions } = parts;
  const list = targetList(sight, parts);
  const name = quoteQualified(sight.relation.schema, sight.relation.name);
  const all = sight.filter === undefined ? conditions : [sight.filter, ...conditions];
  const where = all.length === 0 ? "" : ` WHERE ${all.join(" AND ")}`;
  const fence = sight.filter === undefined ? "" : " OFFSET 0";
  return { text: `(SELECT ${list} FROM ${only ? "ONLY " : ""}${name}${sample}${where}${fence})`, list };
}
