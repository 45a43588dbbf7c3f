import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { relationsIn } from "../bind/from-parts.ts";
import { canBeNamed, type Subject } from "../subjects.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { sightOf, speaksOfPeople } from "./people.ts";
import { type NoisyCall, noisyCalls } from "./summary-calls.ts";
import { isGroupedOrAggregated, namedReferences, showsSummariesOnly } from "./summary-clauses.ts";
import { multiplyingJoin } from "./summary-joins.ts";
import { ownList } from "./summary-lists.ts";
import { narrowSelection } from "./summary-selection.ts";

/*
 * `aggregates_only`: a query that reads people returns counts, sums and averages of whole groups, rounded (see
 * perturbation.ts), and gets an additional condition on the number of people in a group.
 */

/** How a query that summarises people is changed. */
export interface PeopleSummary {
  readonly people: readonly SummarisedPeople[];
  /** The calls that get noise; empty if the policy says `noise: off`. */
  readonly calls: readonly NoisyCall[];
  /**
   * The planner moves a condition of the enclosing query below a grouping if it names only grouped columns, and then
   * applies it to single people's rows (subquery_is_pushdown_safe in optimizer/path/allpaths.c). An OFFSET prevents
   * that.
   */
  readonly needsFence: boolean;
}

/** The people of one reference: the column that identifies them there. */
export interface SummarisedPeople {
  readonly alias: string;
  readonly subject: Subject;
  readonly exposed: string;
}

export type SummaryFinding =
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "summary"; readonly summary: PeopleSummary };

/** Undefined if the role may see rows of people, or if the query reads none. */
export function summaryOfPeople(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): SummaryFinding | undefined {
  const { aggregatesOnly } = given.role;
  if (aggregatesOnly === undefined || query.form !== "select") return undefined;
  const people = relationsIn(query.from).filter((each) => speaksOfPeople(given.sights, each));
  if (people.length === 0) return undefined;
  const refusal = refusalOf(statement, given, query, people);
  if (refusal !== undefined) return { kind: "refused", refusal };
  const named = people.map((reference) => peopleOf(given, reference));
  const known = named.filter((each) => each !== undefined);
  const unnamed = people[named.indexOf(undefined)];
  if (unnamed !== undefined) return { kind: "refused", refusal: notToldApart(given, unnamed) };
  const noisy = aggregatesOnly.noise > 0 ? noisyCalls(statement, given, query) : undefined;
  if (noisy?.ok === false) return { kind: "refused", refusal: noisy.refusal };
  const place = isLimited(query) ? "limited" : placeOf(statement, query);
  if (place === "operand inside") return { kind: "refused", refusal: inOperand(given) };
  const needsFence = place === "inside";
  return { kind: "summary", summary: { people: known, calls: noisy?.calls ?? [], needsFence } };
}

function refusalOf(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
  people: readonly BoundRelation[],
): Refusal | undefined {
  const { role, sights, maskKey } = given;
  const named = namedReferences(query);
  if (people.some((each) => !named.includes(each)))
    return denied(
      role,
      `role "${role.name}" may not read people through a join with an alias`,
      KEY,
      SUMMARIES,
    );
  const keys = people.map((each) => sightOf(sights, each)?.key).join(", ");
  // An order or a condition over anything else would reveal single people within the groups.
  if (!showsSummariesOnly(statement, sights, query))
    return denied(role, `role "${role.name}" may only see summaries of ${keys}`, KEY, SUMMARIES);
  if (query.clauses.window !== undefined)
    return denied(role, `role "${role.name}" may not use windows over people`, KEY, SUMMARIES);
  // Rows without columns have no place for a condition on their group, and reveal only the number of groups.
  if (query.clauses.targets === undefined || !isGroupedOrAggregated(query))
    return denied(role, `role "${role.name}" may only see summaries of ${keys}`, KEY, SUMMARIES);
  const narrow = narrowSelection(statement, given, query) ?? ownList(given, query);
  if (narrow !== undefined || role.aggregatesOnly?.noise === 0) return narrow;
  if (maskKey === undefined)
    return denied(
      role,
      `role "${role.name}" may not see summaries, whose noise needs the secret key of the proxy`,
      KEY,
      "Give the proxy a secret (--key-file).",
    );
  return multiplyingJoin(statement, given, query);
}

const KEY = "aggregates_only";

const SUMMARIES =
  "Select, sort and filter groups by GROUP BY columns and by count, sum or avg of plain columns, without FILTER, OVER or a calculation inside; docs/aggregates.md lists what else is allowed.";

/** How the people of a reference are identified, if they are. */
function peopleOf(given: Given, reference: BoundRelation): SummarisedPeople | undefined {
  const { alias, columns } = reference;
  const subject = sightOf(given.sights, reference)?.people?.subject;
  const column = columns.find(
    ({ source }) => source.kind === "own" && source.column.name === subject?.column,
  );
  if (subject === undefined || column === undefined || !canBeNamed(given, subject, alias)) return undefined;
  return { alias, subject, exposed: column.name };
}

function notToldApart({ sights, role }: Given, reference: BoundRelation): Refusal {
  return denied(
    role,
    `${sightOf(sights, reference)?.key} does not distinguish its people, so role "${role.name}" may not read it`,
    KEY,
    "Ask for counts, sums or averages by group; groups of few people are left out.",
  );
}

type QueryPosition = "top" | "inside" | "operand inside";

/** The position of a query: at the top of the statement, alone or in a set operation, or inside another query. */
function placeOf({ parentOf }: BoundStatement, query: BoundQuery): QueryPosition {
  let [at, around] = [query, parentOf.get(query)];
  const isOperand = around?.setOperation?.arms.includes(query) === true;
  while (around?.setOperation?.arms.includes(at) === true) [at, around] = [around, parentOf.get(around)];
  return around === undefined ? "top" : isOperand ? "operand inside" : "inside";
}

function inOperand({ role }: Given): Refusal {
  return denied(
    role,
    `role "${role.name}" may not read people in a set operation inside another query`,
    KEY,
    "Write the set operation around whole summaries, at the top of the statement.",
  );
}

/** With OFFSET or LIMIT no condition is moved below. */
function isLimited({ clauses: { offset, limit } }: BoundQuery): boolean {
  return offset !== undefined || limit !== undefined;
}
