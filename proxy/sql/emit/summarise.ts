import type { Node } from "libpg-query";
import { quoteIdentifier } from "../../pg/quote.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { PeopleSummary, SummarisedPeople } from "../rules/summaries.ts";
import type { NoisyCall } from "../rules/summary-calls.ts";
import { identitySql, personSql } from "../subjects.ts";
import type { MadeEdit } from "../verdict.ts";
import {
  AFTER_GROUPING,
  AFTER_HAVING,
  AFTER_ORDER,
  clauseEnd,
  fromKeyword,
  insertBefore,
  lastTarget,
} from "./clauses.ts";
import type { OrderedEdits } from "./ordered-edits.ts";
import { enoughSql, type Noise, noiseOf, noisySql } from "./perturbation.ts";
import type { Rewriting } from "./rewriting.ts";
import { closingParenthesis, placeOf, word } from "./source-tokens.ts";

/* Writes the requirements of `aggregates_only` (rules/summaries.ts) into the text of a query. */

/** A condition on the groups of a query, followed by a fence. */
export function summaryClauses(
  rewriting: Rewriting,
  { clauses: { targets = [] } }: BoundQuery,
  { people, needsFence }: PeopleSummary,
): readonly MadeEdit[] {
  const noise = noiseIn(rewriting);
  const { aggregatesOnly } = rewriting.given.role;
  if (aggregatesOnly === undefined) throw new Error("a summary for a role that sees rows");
  const tests = people.map((each) => {
    const { person, identity } = peopleSql(rewriting, each);
    return enoughSql(person, aggregatesOnly.minGroup, noise && { ...noise, identity });
  });
  return [
    ...havingEdits(rewriting, targets, tests.join(" AND ")),
    ...(needsFence ? [fence(rewriting, targets)] : []),
  ];
}

/** The noisy forms of its aggregates. */
export function noisyCalls(
  rewriting: Rewriting,
  { people, calls }: PeopleSummary,
  names: OrderedEdits,
): readonly MadeEdit[] {
  const noise = noiseIn(rewriting);
  if (noise === undefined) return [];
  const identities = people.map((each) => peopleSql(rewriting, each).identity);
  return calls.map((call) => noisyCall(rewriting, { call, noise, identities }, names));
}

/** The noise of the role's summaries; undefined if the policy says `noise: off`. */
function noiseIn({ given: { role, maskKey } }: Rewriting): Noise | undefined {
  const most = role.aggregatesOnly?.noise ?? 0;
  return most === 0 || maskKey === undefined ? undefined : noiseOf(most, maskKey);
}

/** The people of one reference, as SQL. */
interface PeopleSql {
  /** NULL if they cannot be found. */
  readonly person: string;
  /** The same, with a substitute for people who cannot be found. */
  readonly identity: string;
}

function peopleSql({ given }: Rewriting, { subject, alias, exposed }: SummarisedPeople): PeopleSql {
  const person = personSql(given, subject, alias, exposed);
  const identity = identitySql(given, subject, alias, exposed);
  if (person === undefined || identity === undefined) throw new Error("people who cannot be named");
  return { person, identity: (subject.hops ?? []).length === 0 ? person : identity };
}

interface Noisy {
  readonly call: NoisyCall;
  readonly noise: Noise;
  readonly identities: readonly string[];
}

/** The replacement for a summary; it contains no name of the client's except the column's. */
function noisyCall(
  { source }: Rewriting,
  { call, noise, identities: people }: Noisy,
  names: OrderedEdits,
): MadeEdit {
  const { node, name, column, distinct, type } = call;
  const { location } = node;
  const first = source.tokenAt(location ?? -1);
  const end = source.token(closingParenthesis(source, source.nameEnd(first) + 1))?.end;
  if (location === undefined || end === undefined) throw new Error("a call without tokens");
  const argument = column && columnSql(column, names.within(location, end));
  const text = noisySql({ name, distinct, type, argument, people }, noise);
  return { at: location, end, text, change: { kind: "summary", location, name } };
}

/**
 * The column with the edits of its name applied: qualified by the relation that it must stay bound to, and without a
 * schema.
 */
function columnSql(column: Node, edits: readonly MadeEdit[]): string {
  const fields = (nodeOf(column)[1] as { fields?: Node[] }).fields ?? [];
  const names = fields.map(stringOf).map(quoteIdentifier);
  const edit = edits.find(({ change }) => change?.kind === "column");
  if (edit === undefined) return names.join(".");
  return `${edit.text}${names.slice(-2).join(".")}`;
}

/**
 * Adds the condition before the client's own HAVING, or where a HAVING would be. The client's HAVING is evaluated only
 * for groups of enough people: an error in it would reveal something about the others.
 */
function havingEdits(rewriting: Rewriting, targets: readonly Node[], test: string): readonly MadeEdit[] {
  const { source } = rewriting;
  const change = { kind: "having", last: lastTarget(targets) } as const;
  const having = clauseEnd(rewriting, fromKeyword(source, targets), AFTER_GROUPING);
  if (word(source, having) !== "having") {
    const at = placeOf(source, having);
    return [{ at, end: at, text: ` HAVING ${test} `, change }];
  }
  const first = placeOf(source, having + 1);
  const end = placeOf(source, clauseEnd(rewriting, having + 1, AFTER_HAVING));
  return [
    { at: first, end: first, text: `CASE WHEN (${test}) IS NOT TRUE THEN false ELSE (`, change },
    { at: end, end, text: ") END " },
  ];
}

function fence(rewriting: Rewriting, targets: readonly Node[]): MadeEdit {
  const from = fromKeyword(rewriting.source, targets);
  const change = { kind: "fence", last: lastTarget(targets) } as const;
  return insertBefore(rewriting, { from, words: AFTER_ORDER }, " OFFSET 0 ", change);
}
