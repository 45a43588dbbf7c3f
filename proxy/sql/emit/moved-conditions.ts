import { refuse } from "../../wire/refusal.ts";
import type { BoundRelation } from "../bind/bound.ts";
import { Refused } from "../refused.ts";
import type { Comparison } from "../rules/lookup-forms.ts";
import type { Lookup, Search } from "../rules/lookups.ts";
import { sightOf } from "../rules/people.ts";
import type { MadeEdit } from "../verdict.ts";
import {
  type ConditionText,
  lookupText,
  repeatedText,
  spanOfComparison,
  workedOutFirst,
} from "./condition-text.ts";
import type { OrderedEdits } from "./ordered-edits.ts";
import type { ConditionsOf } from "./relation-edits.ts";
import type { Rewriting } from "./rewriting.ts";

/** Conditions at the positions they moved to, and what is left at their old positions. */
export interface MovedConditions {
  readonly conditions: ConditionsOf;
  readonly edits: readonly MadeEdit[];
}

/**
 * Moves lookups, and repeats of conditions inside a fence, into the subqueries of relations. Edits of names in their
 * values move along.
 */
export function movedConditions(rewriting: Rewriting, names: OrderedEdits): MovedConditions {
  const { source, given, findings } = rewriting;
  const conditions = new Map<BoundRelation, string[]>();
  const add = (reference: BoundRelation, { test, unsure }: ConditionText): void => {
    const own = conditions.get(reference) ?? [];
    conditions.set(reference, own);
    own.push(test);
    // If there is a row filter, values whose computation can fail are computed before any row is read.
    if (sightOf(given.sights, reference)?.filter !== undefined) own.push(...unsure.map(workedOutFirst));
  };
  const edits: MadeEdit[] = [];
  for (const lookup of findings.lookups) {
    // A write's target has no subquery: the condition stays in its place.
    if (lookup.isTarget) continue;
    add(lookup.reference, textOf(rewriting, lookup, names));
    edits.push(...lookup.searches.map(({ comparison }) => leftTrue(rewriting, lookup, comparison)));
  }
  for (const { reference, comparison } of findings.repeated) {
    const text = repeatedText(source, comparison);
    if (text !== undefined) add(reference, text);
  }
  return { conditions, edits };
}

function textOf({ source, given }: Rewriting, lookup: Lookup, names: OrderedEdits): ConditionText {
  const text = lookupText(source, given.catalog, lookup.test, (start, end) => names.within(start, end));
  return text ?? unreadable(lookup);
}

function leftTrue({ source }: Rewriting, lookup: Lookup, { body }: Comparison): MadeEdit {
  const { start, end } = spanOfComparison(source, body) ?? unreadable(lookup);
  return { at: start, end, text: "true", change: { kind: "condition", location: body.location ?? 0 } };
}

/** The tree has no ends of expressions, and the text has none of the known forms. */
function unreadable({ searches: [first] }: { readonly searches: readonly Search[] }): never {
  const name = first?.sight.column.name ?? "the column";
  throw new Refused(
    refuse("42501", `the condition on ${name} is written in a way that Sluice does not know`, {
      hint: `Write ${name} = …, with the value as a constant or a parameter.`,
    }),
  );
}
