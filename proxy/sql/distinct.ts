import type { ColumnRef, ResTarget, SelectStmt } from "libpg-query";
import type { FromReference } from "./analysis.ts";
import { nodeOf, stringOf } from "./grammar.ts";

/** The query without its DISTINCT; undefined where it has none, or DISTINCT ON. */
export function withoutDistinct({ distinctClause, ...rest }: SelectStmt): SelectStmt | undefined {
  return isPlainDistinct(distinctClause) ? rest : undefined;
}

/** DISTINCT without ON: a list of one empty node (parser/gram.y, "distinct_clause"). */
export function isPlainDistinct(distinctClause: SelectStmt["distinctClause"]): boolean {
  const [only, ...more] = distinctClause ?? [];
  return only !== undefined && more.length === 0 && Object.keys(only).length === 0;
}

/** Whether rows that differ in this column of the reference differ in what is asked for already: it stands there by itself. */
export function isSelected(
  { targetList = [] }: SelectStmt,
  { alias }: FromReference,
  column: string,
): boolean {
  return targetList.some((target) => {
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
