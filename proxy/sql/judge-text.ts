import type { BoundStatement } from "./bind/bound.ts";
import type { RawStatement } from "./parse/parse-text.ts";
import type { Source } from "./parse/source.ts";
import { Refused } from "./refused.ts";
import type { Facts } from "./rules/facts.ts";
import type { Findings, JudgedStatement } from "./rules/findings.ts";
import { halfDone } from "./rules/half-done.ts";
import { judge } from "./rules/judge.ts";
import type { Appended, Metered } from "./rules/metering.ts";
import { movedPath } from "./rules/moved-path.ts";
import type { PinnedConstant } from "./rules/pinned-people.ts";
import { pushedLimit } from "./rules/pushed-limit.ts";
import { repeatedConditions } from "./rules/repeated-conditions.ts";
import { returnedItem } from "./rules/returned.ts";
import { tell } from "./rules/statement-verdict.ts";
import type { Scope } from "./scope.ts";
import type { Sights } from "./sight.ts";
import type { Metering, PinnedPerson, Statement } from "./verdict.ts";
import { type ExpectedNames, expectedNames } from "./verify/expected-names.ts";

/** The results of the rules for the statements of a text. */
export interface JudgedText extends ExpectedNames {
  readonly statements: readonly Statement[];
  /** The input of the emit stage. */
  readonly judged: readonly JudgedStatement[];
  /** See `PinnedPerson`. */
  readonly places: readonly number[];
}

/**
 * Judges the bound statements of a text, first each by itself and then all together as one message. Refuses by
 * throwing.
 */
export function judgeAll(
  source: Source,
  raw: readonly RawStatement[],
  bound: readonly BoundStatement[],
  scope: Scope,
  sights: Sights,
): JudgedText {
  const places: number[] = [];
  const all = bound.map((statement, index) => {
    const parsed = raw[index];
    if (parsed === undefined) throw new Error("a bound statement that was not parsed");
    const judgement = judge(source, parsed, statement, { ...scope, sights });
    if (!judgement.ok) throw new Refused(judgement.refusal);
    const { facts } = judgement;
    const told = tell(facts, (metered) => withPlaces(places, metered));
    const findings = findingsOf(facts, told.statement, told.appended);
    return {
      statement: told.statement,
      judged: { raw: parsed, index, bound: statement, given: facts.given, findings },
      names: expectedNames(parsed.node, statement),
    };
  });
  const statements = all.map(({ statement }) => statement);
  const refusal = movedPath(statements, raw, scope.catalog) ?? halfDone(statements, scope.role);
  if (refusal !== undefined) throw new Refused(refusal);
  return {
    statements,
    judged: all.map(({ judged }) => judged),
    places,
    bareNames: new Set(all.flatMap(({ names }) => [...names.bareNames])),
    targets: new Set(all.flatMap(({ names }) => [...names.targets])),
  };
}

/** The facts that change the text. */
function findingsOf(facts: Facts, { limited }: Statement, appended: Appended | undefined): Findings {
  const { statement, given, form, calls, lookups, shown, summaries, telltale, writes } = facts;
  return {
    ...{ shown, lookups, appended },
    repeated: repeatedConditions(statement, given),
    summaries: new Map(
      [...summaries].flatMap(([query, found]) =>
        found.kind === "summary" ? [[query, found.summary] as const] : [],
      ),
    ),
    kept: writes.flatMap(({ kept }) => kept),
    returned: statement.queries.flatMap((query) =>
      (query.clauses.returning ?? []).flatMap((item) => {
        const found = returnedItem(given, query, item);
        return found?.kind === "written out" ? [found.returned] : [];
      }),
    ),
    schemas: new Map(calls.flatMap((found) => (found.kind === "schema" ? [[found.node, found.schema]] : []))),
    withoutArgument: new Set(calls.flatMap((found) => (found.kind === "null" ? [found.node] : []))),
    hidesFigures: form.form === "explain" && telltale.length > 0,
    limit: form.form === "query" && limited ? pushedLimit(statement, given) : undefined,
  };
}

/** Adds the positions of its constants to those of the whole text. */
function withPlaces(places: number[], { price, ...metering }: Metered): Metering {
  if (price === undefined) return metering;
  const { pins, ...rest } = price;
  return { ...metering, price: { ...rest, ...(pins && { pins: pins.map((pin) => pinned(places, pin)) }) } };
}

/** The same, with the position of its constant among those of the text. */
export function pinned(places: number[], { from, ...pin }: PinnedConstant): PinnedPerson {
  if ("parameter" in from) return { ...pin, from };
  const index = places.indexOf(from.place);
  return { ...pin, from: { place: index < 0 ? places.push(from.place) - 1 : index } };
}
