import type { ParamRef, SelectStmt } from "libpg-query";
import type { Role } from "../policy/policy.ts";
import { PERSON } from "../prices.ts";
import type { Analysis, RelationUse } from "./analysis.ts";
import { locksRows } from "./bind/questions.ts";
import { cannotFail } from "./failing.ts";
import { type Constant, constantBehind, timesHeldBy } from "./ties.ts";
import { forEachObject } from "./tree.ts";
import type { PinnedPerson, StatementPrice } from "./verdict.ts";

/*
 * What a statement that touches people costs a role with a budget of them, beside the people whom its rows name. The
 * reasons stand in docs/metering.md, "What a statement costs". Units are those of prices.ts: an eighth of a bit.
 */

/** A sixteenth of a person: two bits, that an answer came and whether it was empty. */
const EXECUTION = 16;
/** 16 bits: which of the rows that everybody may see come first, or where they end, can depend on rows that are not shown. */
const PLACE = 128;
/** The number of rows, in a tag or a column: 30 bits more. */
const TAG = 240;
/** Of each reference a plan has a few forms, and statistics of real values choose among them. */
const PLAN = 64;

/** Whether people are counted, so that what a statement tells of them has a price. */
export function countsPeople({ budget, watch }: Role): boolean {
  return watch === true || budget.some(({ what }) => what === "people");
}

/**
 * A query's price. `unnamed`: how many people each row may show whom it does not name; `totals`: how many numbers of rows
 * all of them show.
 */
export function queryPrice(
  analysis: Analysis,
  body: SelectStmt,
  unnamed: number,
  totals = 0,
): { readonly price?: StatementPrice } {
  if (!countsPeople(analysis.scope.role)) return {};
  const pins = pinsOf(analysis, body);
  const prepaid = actingPrice(analysis);
  return {
    price: {
      execution: EXECUTION + (placeTells(analysis, body) ? PLACE : 0) + TAG * totals + prepaid,
      ...(prepaid > 0 && { prepaid }),
      ...(pins !== undefined && { pins }),
      pinned: pins !== undefined && isSure(analysis, body) ? 0 : EXECUTION,
      bySize: isBySize(analysis, unnamed),
    },
  };
}

/**
 * How a write chooses its rows: it brings them along, by a unique key, or otherwise. `tries`: of so many new rows each is
 * stored or not, as a protected value is there already.
 */
export type RowChoice = "new" | "one" | "many" | { readonly tries: number };

/** A write's price. The number in its tag tells how many rows it met. */
export function writePrice(
  analysis: Analysis,
  { choice, tells }: { readonly choice: RowChoice; readonly tells: boolean },
  unnamed: number,
): { readonly price?: StatementPrice } {
  const units =
    typeof choice === "object"
      ? EXECUTION * choice.tries
      : { new: tells ? EXECUTION : 0, one: EXECUTION, many: EXECUTION + TAG }[choice];
  return flatPrice(analysis, units, unnamed);
}

export function copyPrice(analysis: Analysis, unnamed: number): { readonly price?: StatementPrice } {
  return flatPrice(analysis, EXECUTION, unnamed);
}

export function planPrice(analysis: Analysis): { readonly price?: StatementPrice } {
  const references = analysis.uses.filter(({ sight }) => sight?.people !== undefined).length;
  return flatPrice(analysis, EXECUTION + PLAN * Math.max(1, references), 0);
}

/** What a call that may write returns is paid for before it runs: afterwards it could not be refused any more. */
function actingPrice({ actingCalls, cost }: Analysis): number {
  return PERSON * actingCalls.length * cost;
}

function flatPrice(
  analysis: Analysis,
  execution: number,
  unnamed: number,
): { readonly price?: StatementPrice } {
  if (!countsPeople(analysis.scope.role)) return {};
  return {
    price: { execution, pinned: execution, bySize: isBySize(analysis, unnamed) },
  };
}

/**
 * Rows of people who are counted cost nothing, and which of them are shown can tell of others: OFFSET skips rows that
 * nobody counts, WITH TIES and LIMIT stop at a place that the order of all rows decides.
 */
function placeTells(analysis: Analysis, { limitOffset, limitCount, limitOption, sortClause }: SelectStmt) {
  return (
    limitOffset !== undefined ||
    limitOption === "LIMIT_OPTION_WITH_TIES" ||
    (limitCount !== undefined && sortClause !== undefined) ||
    locksRows(analysis.bound)
  );
}

/** Rows that do not name their people can be made of any number of them. */
function isBySize(analysis: Analysis, unnamed: number): boolean {
  // What gathers is not always counted: a recursive WITH may refer to a query that stands after it.
  if (analysis.gathers !== undefined) return true;
  return (
    unnamed > 0 &&
    (analysis.aggregates > 0 ||
      analysis.windows > 0 ||
      analysis.gatherings.length > 0 ||
      analysis.uses.some(({ sight }) => sight?.gathers === true))
  );
}

/** Undefined where somebody else's values could have a part in the answer. */
function pinsOf(analysis: Analysis, body: SelectStmt): readonly PinnedPerson[] | undefined {
  const pins = analysis.uses
    .filter(({ sight }) => sight?.people !== undefined)
    .map((use) => pinOf(analysis, body, use));
  const known = pins.filter((pin) => pin !== undefined);
  if (known.length === 0 || known.length < pins.length) return undefined;
  return analysis.calls === 0 && analysis.writes.size === 0 ? distinct(known) : undefined;
}

function pinOf(analysis: Analysis, body: SelectStmt, use: RelationUse): PinnedPerson | undefined {
  const subject = use.sight?.people?.subject;
  const constant = constantBehind(analysis, use);
  const column = use.relation.columns.find(({ name }) => name === subject?.column);
  const type = column && analysis.scope.catalog.typesByOid.get(column.typeOid);
  const kind = type?.schema === "pg_catalog" ? KINDS[type.name] : undefined;
  if (subject === undefined || constant === undefined || kind === undefined) return undefined;
  return { namespace: subject.namespace, type: kind, from: whereabouts(analysis, body, constant) };
}

function whereabouts(analysis: Analysis, body: SelectStmt, constant: Constant): PinnedPerson["from"] {
  if ("parameter" in constant) {
    const { parameter } = constant;
    return { parameter, isAlone: occurrences(body, parameter) === timesHeldBy(analysis, parameter) };
  }
  let index = analysis.places.indexOf(constant.place);
  if (index < 0) index = analysis.places.push(constant.place) - 1;
  return { place: index };
}

function occurrences(tree: object, parameter: number): number {
  let count = 0;
  const look = (field: string, object: object): void => {
    if (field === "A_Const") return;
    // The parser's JSON leaves a zero out: number is never that.
    if (field === "ParamRef" && (object as ParamRef).number === parameter) count++;
    forEachObject(object, look);
  };
  forEachObject(tree, look);
  return count;
}

/** Types whose values have one text each that Sluice can make: padded or approximate ones do not. */
const KINDS: Readonly<Record<string, PinnedPerson["type"]>> = {
  int2: "integer",
  int4: "integer",
  int8: "integer",
  text: "text",
  varchar: "text",
  uuid: "uuid",
};

function distinct(pins: readonly PinnedPerson[]): readonly PinnedPerson[] {
  return [...new Map(pins.map((pin) => [JSON.stringify(pin), pin])).values()];
}

/** Its error, if there is one, tells of nobody else. A view's columns are expressions, which may fail as well. */
function isSure(analysis: Analysis, body: SelectStmt): boolean {
  return (
    analysis.uses.every(({ relation }) => relation.lineage === undefined) && cannotFail({ SelectStmt: body })
  );
}
