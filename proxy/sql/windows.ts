import type { FuncCall, Node, ResTarget, SelectStmt } from "libpg-query";
import type { Analysis } from "./analysis.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { countsPeople } from "./pricing.ts";
import { summarisingCalls } from "./rules/summarising.ts";

/**
 * A window's value is made of other rows than the one that shows it. `totals`: of `count(*) OVER ()` all rows show the
 * same, so it has a price once; `others`: for how many people all the others in a row count.
 */
export function windowsOf(
  { scope, bound, namesProtected }: Analysis,
  { targetList }: SelectStmt,
): { readonly totals: number; readonly others: number } {
  if (!namesProtected || !countsPeople(scope.role)) return { totals: 0, others: 0 };
  const { rankings, windows } = summarisingCalls(bound, scope.catalog);
  const totals = Math.min(rankings, (targetList ?? []).filter(isTotal).length);
  return { totals, others: rankings - totals + (windows > 0 ? 1 : 0) };
}

/** `count(*) OVER ()` as a column of its own. */
function isTotal(target: Node): boolean {
  const value = (nodeOf(target)[1] as ResTarget).val;
  const [type, call] = value === undefined ? ["", {}] : nodeOf(value);
  const { funcname, agg_star, agg_filter, over } = (type === "FuncCall" ? call : {}) as FuncCall;
  const isCount = (funcname ?? []).map(stringOf).at(-1) === "count" && agg_star === true;
  if (!isCount || agg_filter !== undefined || over === undefined) return false;
  const { name, refname, partitionClause, orderClause } = over;
  return [name, refname, partitionClause, orderClause].every((each) => each === undefined);
}
