import type { ColumnRef, ResTarget, SelectStmt } from "libpg-query";
import type { Analysis } from "./analysis.ts";
import { isPlainDistinct } from "./distinct.ts";
import { nodeOf } from "./grammar.ts";
import { AFTER_GROUPING, clauseEnd, fromKeyword, placeOf, targetOf } from "./places.ts";

/*
 * `SELECT DISTINCT country FROM customers` gives groups of people, one row for each country. By a GROUP BY of the same columns,
 * which leaves the rows as they are, it can be asked how many people are behind each of them: a value that many share shows nobody.
 */

/** Whether all rows of a query are distinct plain columns, none of them protected, of its own FROM. */
export function isDistinctGroups(
  { namesProtected }: Analysis,
  { distinctClause, targetList = [], fromClause, ...clauses }: SelectStmt,
): boolean {
  if (
    !isPlainDistinct(distinctClause) ||
    namesProtected ||
    fromClause === undefined ||
    targetList.length === 0
  )
    return false;
  const { groupClause, havingClause, windowClause } = clauses;
  if ([groupClause, havingClause, windowClause].some((clause) => clause !== undefined)) return false;
  return targetList.every((target) => {
    const { val } = nodeOf(target)[1] as ResTarget;
    const [type, body] = val === undefined ? ["", {}] : nodeOf(val);
    return (
      type === "ColumnRef" &&
      ((body as ColumnRef).fields ?? []).every((field) => nodeOf(field)[0] === "String")
    );
  });
}

/** Adds the GROUP BY, by the numbers of the client's own columns. */
export function groupDistinctRows(analysis: Analysis, { targetList = [] }: SelectStmt): void {
  const place = placeOf(
    analysis.source,
    clauseEnd(analysis, fromKeyword(analysis, targetList), AFTER_GROUPING),
  );
  const numbers = targetList.map((_, index) => index + 1).join(", ");
  const last = targetOf(targetList.at(-1)).location ?? 0;
  analysis.edit(place, place, ` GROUP BY ${numbers} `, { kind: "groups", last });
}
