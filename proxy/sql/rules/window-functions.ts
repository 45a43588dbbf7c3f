import type { FuncCall, Node, ResTarget } from "libpg-query";
import type { BoundQuery } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { countsPeople } from "./people.ts";
import type { Bill } from "./prices.ts";
import { summarisingCalls } from "./summarising.ts";

/**
 * A window's value is made from rows other than the one that shows it. `totals`: for `count(*) OVER ()` all rows show
 * the same value, so it has a price once; `others`: how many people all other windows in a row count as.
 */
export function windowsOf(
  { statement, given, told }: Bill,
  { clauses: { targets = [] } }: BoundQuery,
): { readonly totals: number; readonly others: number } {
  if (!told.namesProtected || !countsPeople(given.role)) return { totals: 0, others: 0 };
  const { rankings, windows } = summarisingCalls(statement, given.catalog);
  const totals = Math.min(rankings, targets.filter(isTotal).length);
  return { totals, others: rankings - totals + (windows > 0 ? 1 : 0) };
}

/** Whether a window anywhere may show what other rows hold. How many rows there are shows nobody's unprotected values. */
export function showsOtherRows({ statement, given, told }: Bill): boolean {
  const { rankings, windows } = summarisingCalls(statement, given.catalog);
  return windows > 0 || (rankings > 0 && told.namesProtected);
}

/** `count(*) OVER ()` as a separate column. */
function isTotal(target: Node): boolean {
  const value = (nodeOf(target)[1] as ResTarget).val;
  const [type, call] = value === undefined ? ["", {}] : nodeOf(value);
  const { funcname, agg_star, agg_filter, over } = (type === "FuncCall" ? call : {}) as FuncCall;
  const isCount = (funcname ?? []).map(stringOf).at(-1) === "count" && agg_star === true;
  if (!isCount || agg_filter !== undefined || over === undefined) return false;
  const { name, refname, partitionClause, orderClause } = over;
  return [name, refname, partitionClause, orderClause].every((each) => each === undefined);
}
