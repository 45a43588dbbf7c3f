import { quoteIdentifier } from "../../pg/quote.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { groupingsByKey } from "../rules/grouped-keys.ts";
import type { MadeEdit } from "../verdict.ts";
import { AFTER_GROUPING, fromKeyword, insertBefore, lastTarget } from "./clauses.ts";
import type { Rewriting } from "./rewriting.ts";

/** Adds columns at the end of GROUP BY, so that column numbers keep their meaning. */
export function keyGroupings(rewriting: Rewriting, query: BoundQuery): readonly MadeEdit[] {
  const { given, findings } = rewriting;
  return groupingsByKey(given.sights, findings.shown, query).map(({ reference, columns }) => {
    const alias = quoteIdentifier(reference.alias);
    const list = columns.map((name) => `${alias}.${quoteIdentifier(name)}`);
    return behindGrouping(rewriting, query, `, ${list.join(", ")} `, "grouping");
  });
}

/** Groups by all distinct rows, using the numbers of the client's own columns. */
export function groupingOfRows(rewriting: Rewriting, query: BoundQuery): MadeEdit {
  const numbers = (query.clauses.targets ?? []).map((_, index) => index + 1).join(", ");
  return behindGrouping(rewriting, query, ` GROUP BY ${numbers} `, "groups");
}

function behindGrouping(
  rewriting: Rewriting,
  { clauses: { targets = [] } }: BoundQuery,
  text: string,
  kind: "grouping" | "groups",
): MadeEdit {
  const from = fromKeyword(rewriting.source, targets);
  const change = { kind, last: lastTarget(targets) };
  return insertBefore(rewriting, { from, words: AFTER_GROUPING }, text, change);
}
