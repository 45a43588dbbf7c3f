import type { FuncCall } from "libpg-query";
import type { BoundQuery, BoundRelation, BoundStatement, Call } from "../bind/bound.ts";
import { tablesIn } from "../bind/questions.ts";
import { builtinUse } from "../functions.ts";
import { isIdentified } from "../subjects.ts";
import type { Groups, Metering } from "../verdict.ts";
import { functionsMeant } from "./calls.ts";
import { gathersRows } from "./gathering.ts";
import { isGroupedByPerson } from "./grouped-keys.ts";
import {
  areTied,
  countedHere,
  haveKnownPurpose,
  type NamedPerson,
  peopleNamed,
  subjectsOf,
  tiedPeople,
} from "./named-people.ts";
import { ownedOutputs } from "./owned-outputs.ts";
import { countsPeople, sightOf, speaksOfPeople } from "./people.ts";
import { movesPeople, ownCalls, peoplePerRow } from "./people-shown.ts";
import {
  type Bill,
  copyPrice,
  type Price,
  planPrice,
  priceOfWritesWithin,
  queryPrice,
  writePrice,
} from "./prices.ts";
import { givesDistinctColumns, givesGroups } from "./row-forms.ts";
import { showsOtherRows, windowsOf } from "./window-functions.ts";
import { toldByWrite } from "./write-choice.ts";

/*
 * What each output row of a statement reveals about people, and the columns appended to report it. Never less than what
 * was read: a reference that no appended column covers counts one unknown person for each row.
 */

/** Like `Metering`, with a price that identifies constants by their positions. */
export interface Metered extends Omit<Metering, "price"> {
  readonly price?: Price;
}

/** Columns after those that the client gets. */
export type Appended =
  /** For each row, its people. */
  | { readonly kind: "people"; readonly people: readonly NamedPerson[]; readonly withPurpose: boolean }
  /** For each group, the number of its people, or their identities. */
  | {
      readonly kind: "groups";
      readonly people: readonly NamedPerson[];
      readonly tell: Groups["tell"];
      /** Distinct rows have to be turned into groups first. */
      readonly groupsRows: boolean;
      /** The group's rows have to reach the client's aggregates in the order in which they would without these columns. */
      readonly keepsOrder: boolean;
    };

export interface MeteringFinding {
  /** Undefined if the rows are about no person. */
  readonly metering: Metered | undefined;
  readonly appended?: Appended;
}

/** For a statement that returns the rows of a SELECT. */
export function meterSelect(bill: Bill, query: BoundQuery): MeteringFinding {
  const { statement, given } = bill;
  const total = peoplePerRow(statement, given);
  if (total === undefined) {
    const within = priceOfWritesWithin(bill);
    return { metering: within && { ...NO_PEOPLE, ...within } };
  }
  const grouped = groupsOf(bill, query);
  if (grouped !== undefined) {
    const { people, told } = grouped;
    return {
      metering: { subjects: [], unknown: 0, groups: told, ...queryPrice(bill, query, 0) },
      ...(people.length > 0 && {
        appended: {
          kind: "groups",
          people,
          tell: told.tell,
          groupsRows: told.most !== undefined,
          keepsOrder: needsOrder(bill, query),
        } as const,
      }),
    };
  }
  const people = peopleNamed(statement, given, query);
  const withPurpose = haveKnownPurpose(given, people);
  const { totals, others } = windowsOf(bill, query);
  const unknown = total - people.length - tiedPeople(statement, given, people) + others;
  return {
    metering: {
      subjects: people.map(({ subject: { namespace } }) => ({ namespace })),
      ...ownedBy(bill, query, people),
      unknown,
      ...(withPurpose && { purpose: true as const }),
      ...queryPrice(bill, query, unknown, totals),
    },
    ...(people.length > 0 && { appended: { kind: "people", people, withPurpose } as const }),
  };
}

/**
 * The rows of RETURNING are the target's; other relations that were read count as unknown people. MERGE's rows combine
 * both.
 */
export function meterWrite(bill: Bill, query: BoundQuery): MeteringFinding {
  const { statement, given } = bill;
  const total = query.clauses.returning && peoplePerRow(statement, given);
  if (total === undefined) return { metering: meterSilent(bill, query) };
  const person = query.form === "merge" ? undefined : personWritten(bill, query);
  const unknown = total - (person === undefined ? 0 : 1);
  return {
    metering: {
      subjects: person === undefined ? [] : [{ namespace: person.subject.namespace }],
      ...ownedBy(bill, query, person === undefined ? [] : [person]),
      unknown,
      ...writePrice(bill, query, unknown),
    },
    ...(person && { appended: { kind: "people", people: [person], withPurpose: false } as const }),
  };
}

/** Asked where tokens are turned back. */
function ownedBy(
  { statement, given }: Bill,
  query: BoundQuery,
  people: readonly NamedPerson[],
): Pick<Metering, "owners"> {
  if (given.policy.tokenCanary === undefined || people.length === 0) return {};
  return { owners: ownedOutputs(statement, given, query, people) };
}

/** MERGE's rows are never certain to be one person's. */
function personWritten({ given }: Bill, { write }: BoundQuery): NamedPerson | undefined {
  const subject = write && sightOf(given.sights, write.target)?.people?.subject;
  return write === undefined || subject === undefined || !isIdentified(subject, write.target.alias)
    ? undefined
    : { reference: write.target, subject, by: write.target, exposed: subject.column, isCounted: false };
}

/** For a write that shows no one: whether it succeeds may still reveal something about people. */
function meterSilent(bill: Bill, query: BoundQuery): Metered | undefined {
  const { statement, given, told } = bill;
  const tells =
    speaksInErrors(bill, query) ||
    told.lookups > 0 ||
    toldByWrite(statement, given, query).tells ||
    priceOfWritesWithin(bill) !== undefined;
  return tells ? { ...NO_PEOPLE, ...writePrice(bill, query, 0) } : undefined;
}

/** Triggers and constraints of the target work on its real values, and their errors quote them. */
function speaksInErrors({ given }: Bill, { write }: BoundQuery): boolean {
  if (write?.target.source.kind !== "table") return false;
  const sight = sightOf(given.sights, write.target);
  return sight?.people !== undefined || sight?.guarded === true || write.target.source.relation.hasRules;
}

/** COPY FROM: that its rows are stored may reveal existing values. */
export function meterCopyIn(bill: Bill): Metered | undefined {
  const { statement, given, told } = bill;
  const { top } = statement;
  const tells = top !== undefined && (told.lookups > 0 || toldByWrite(statement, given, top).tells);
  return tells ? { ...NO_PEOPLE, ...writePrice(bill, top, 0) } : undefined;
}

/** Returns no rows of people, yet the server's messages may quote a person's value. */
const NO_PEOPLE = { subjects: [], unknown: 0 } as const;

/** For COPY, the shape of whose rows cannot be changed. */
export function meterCopy(bill: Bill): Metered | undefined {
  const total = peoplePerRow(bill.statement, bill.given);
  return total === undefined ? undefined : { subjects: [], unknown: total, ...copyPrice(bill, total) };
}

/** A plan's lines are not people; they have a price if they use statistics about people. */
export function meterPlan(bill: Bill): Metered {
  return peoplePerRow(bill.statement, bill.given) === undefined
    ? NO_PEOPLE
    : { ...NO_PEOPLE, ...planPrice(bill) };
}

/**
 * A cursor's rows are counted when they are fetched. DECLARE plans its query; COMMIT runs a cursor WITH HOLD to its end
 * (PersistHoldablePortal of commands/portalcmds.c), which reveals whether that fails.
 */
export function meterCursor(
  query: Pick<Metering, "price"> | undefined,
  isHeld: boolean,
): Metered | undefined {
  if (query?.price === undefined) return undefined;
  const execution = isHeld ? query.price.execution : query.price.planning;
  return execution === undefined
    ? undefined
    : { ...NO_PEOPLE, price: { execution, pinned: execution, bySize: false } };
}

/** Whether a row of a subquery may show another person's data than the one whom it names. */
function mayShowOthers(bill: Bill): boolean {
  return showsOtherRows(bill) || bill.statement.queries.some((each) => movesPeople(bill.given, each));
}

interface FoundGroups {
  readonly people: readonly NamedPerson[];
  readonly told: Groups;
}

/**
 * For rows that represent groups: their people are requested next to the client's own aggregates, at the same level, so
 * that nothing is evaluated twice. Undefined if that is impossible, or if people are read elsewhere in the statement.
 */
function groupsOf(bill: Bill, query: BoundQuery): FoundGroups | undefined {
  const { statement, given, told } = bill;
  if (!countsPeople(given.role)) return undefined;
  const isDistinct = !told.namesProtected && givesDistinctColumns(query);
  if (!isDistinct && !givesGroups(statement, query)) return undefined;
  const references = tablesIn(statement).filter((each) => speaksOfPeople(given.sights, each));
  if (references.length === 0 || ownCalls(statement, given) > 0) return undefined;
  if (given.role.watch === true && mayShowOthers(bill)) return undefined;
  // A group of rows in which a person is left out reveals something about them if protected columns decide who that is.
  const counted = told.namesProtected ? countedHere(statement, given, query) : new Set();
  const people = subjectsOf(statement, given, query)
    .filter(({ reference }) => sightOf(given.sights, reference)?.people?.unknown === 0)
    .map((person) => ({ ...person, isCounted: counted.has(person.reference) }));
  const others = references.filter((each) => !people.some(({ reference }) => reference === each));
  if (others.length > 0 && !showNobodyElse(statement, given, people, others, told)) return undefined;
  return {
    people,
    told: {
      namespaces: people.map(({ subject: { namespace } }) => namespace),
      // Gathered values can be read one by one, so their people must be identified.
      tell: gathersRows(statement, given) || areOfOnePerson(bill, query, people) ? "people" : "number",
      isPlain: !told.namesProtected,
      ...(isDistinct && { most: people.length }),
    },
  };
}

/**
 * Of a watched role: a group for each person or for each of their rows, as in `SELECT c.*, count(t.id) … GROUP BY c.id`.
 * It shows them as their own row does. Of larger groups only sums are shown, and listing everybody would cost more than
 * they do.
 */
function areOfOnePerson(
  { statement, given }: Bill,
  query: BoundQuery,
  people: readonly NamedPerson[],
): boolean {
  if (given.role.watch !== true) return false;
  const grouped = people.filter((person) => isGroupedByPerson(given.sights, query, person));
  const others = people.filter((person) => !grouped.includes(person)).map(({ reference }) => reference);
  return grouped.length > 0 && areTied(statement, given, grouped, others);
}

/** Of a watched role: an aggregate over the query's rows whose result shows in which order they came. */
function needsOrder({ given: { role, catalog } }: Bill, { aggregates }: BoundQuery): boolean {
  const showsOrder = (call: Call): boolean => {
    const { agg_order, agg_distinct, agg_within_group } = call.node as FuncCall;
    if (agg_order !== undefined || agg_distinct === true || agg_within_group === true) return false;
    return functionsMeant(catalog, call).some(
      (fn) => builtinUse(fn) === "gathering" || fn.name === "any_value",
    );
  };
  return role.watch === true && aggregates.some(showsOrder);
}

/**
 * Of a watched role: rows that are tied to those people, or that a subquery has made groups of already, without any
 * protected column.
 */
function showNobodyElse(
  statement: BoundStatement,
  given: Bill["given"],
  people: readonly NamedPerson[],
  others: readonly BoundRelation[],
  { namesProtected }: Bill["told"],
): boolean {
  if (given.role.watch !== true) return false;
  if (areTied(statement, given, people, others)) return true;
  const inGroups = (reference: BoundRelation): boolean =>
    statement.queries.some((query) => query.relations.includes(reference) && givesGroups(statement, query));
  return !namesProtected && people.length === 0 && others.every(inGroups);
}
