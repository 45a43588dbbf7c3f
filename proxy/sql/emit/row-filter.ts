import type { BoundQuery } from "../bind/bound.ts";
import { conjuncts } from "../bind/pins.ts";
import { sightOf } from "../rules/people.ts";
import { simpleComparison } from "../rules/simple-comparisons.ts";
import { mayFail } from "../rules/sure-values.ts";
import type { MadeEdit } from "../verdict.ts";
import { clauseEnd, firstPlace, insertBefore, keywordBefore } from "./clauses.ts";
import { valueText, workedOutFirst } from "./condition-text.ts";
import type { Rewriting } from "./rewriting.ts";
import { nameSpan, placeOf } from "./source-tokens.ts";

const BEHIND_WHERE = new Set(["returning"]);

/**
 * Adds the row filter of the target of an UPDATE or DELETE to its conditions. The computation of values that these
 * conditions compare with must not fail only for a hidden row: see rules/sure-values.ts.
 */
export function filterEdits(rewriting: Rewriting, { form, write, clauses }: BoundQuery): readonly MadeEdit[] {
  const { source, bound, given } = rewriting;
  const filter = write && sightOf(given.sights, write.target)?.filter;
  if (filter === undefined || (form !== "update" && form !== "delete")) return [];
  if (write?.target.source.kind !== "table") return [];
  const { name } = write.target.source;
  const { where = [] } = clauses;
  const comparisons = where.flatMap(conjuncts).flatMap((each) => simpleComparison(bound, each) ?? []);
  const unsure = comparisons.flatMap(({ values }) => values.filter(mayFail));
  const test = [`(${filter})`, ...unsure.map((value) => workedOutFirst(valueText(source, value)))].join(
    " AND ",
  );
  const change = { kind: "filter", location: name.location ?? 0 } as const;
  const place = firstPlace(where);
  if (place === undefined) {
    const from = nameSpan(source, name).last + 1;
    return [insertBefore(rewriting, { from, words: BEHIND_WHERE }, ` WHERE ${filter} `, change)];
  }
  const first = keywordBefore(source, place, "where") + 1;
  const start = placeOf(source, first);
  const end = placeOf(source, clauseEnd(rewriting, first, BEHIND_WHERE));
  return [
    { at: start, end: start, text: `${test} AND (`, change },
    { at: end, end, text: ") " },
  ];
}
