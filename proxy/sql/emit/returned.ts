import { quoteIdentifier } from "../../pg/quote.ts";
import type { ReturnedItem } from "../rules/returned.ts";
import type { MadeEdit } from "../verdict.ts";
import type { Rewriting } from "./rewriting.ts";
import { bytesOf, closingParenthesis } from "./source-tokens.ts";

/** Replaces an item of RETURNING by columns of the write's target, as the role sees them. */
export function returnedEdit(
  { source, bound }: Rewriting,
  { item, reference, columns }: ReturnedItem,
): MadeEdit {
  const [location, column] = [item.location ?? 0, reference.location ?? 0];
  // In parentheses: `RETURNING (email)`.
  const first = source.tokenAt(location);
  const last = location === column ? source.nameEnd(first) : closingParenthesis(source, first);
  const { start, end } = bytesOf(source, { first, last });
  const list = columns.map(({ kind, sql, planSql, column: { name } }) => {
    const seen = bound.kind === "explain" ? planSql : sql;
    return kind === "real" || item.name !== undefined ? seen : `${seen} AS ${quoteIdentifier(name)}`;
  });
  return { at: start, end, text: list.join(", "), change: { kind: "item", location, column } };
}
