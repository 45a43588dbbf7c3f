import type { Relation } from "../../catalog/catalog.ts";
import { PERSON } from "../../policy/price-units.ts";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { locksRows, tablesIn } from "../bind/questions.ts";
import type { StatementPrice } from "../verdict.ts";
import { cannotFail } from "./certain.ts";
import { gatheringsOf } from "./gathering.ts";
import type { Given } from "./given.ts";
import { countsPeople, dependsOnProtected, sightOf, speaksOfPeople } from "./people.ts";
import { type PinnedConstant, pinnedPeople } from "./pinned-people.ts";
import { planningCanFail } from "./planning.ts";
import { summarisingCalls } from "./summarising.ts";
import { concernsPeople, toldByWrite } from "./write-choice.ts";

/*
 * What a statement that touches people costs a role with a budget of people, in addition to the people whom its rows
 * identify. For the reasons see docs/metering.md, "What a statement costs". Units are those of prices.ts: an eighth of
 * a bit.
 */

/** A sixteenth of a person: two bits, that there was an answer and whether it was empty. */
const EXECUTION = 16;
/** 16 bits: which of the rows that everyone may see come first, or where they end, can depend on hidden rows. */
const PLACE = 128;
/**
 * The number of rows, in a tag or a column: 30 bits more. OFFSET reveals such a number too: which of a counted person's rows comes
 * first shows how many rows of other people were skipped.
 */
const TAG = 240;
/** A plan scans each relation in one of a few ways, and statistics of real values decide which. */
const PLAN = 64;
/** An eighth of a bit, for planning that succeeds. If it fails, the error has a price of its own. */
const PLANNED = 1;
/** An upper bound for views with many tables. */
const MOST_SCANS = 10_000;

/** Other findings about a statement that its price depends on. */
export interface Told {
  /** The number of exact lookups of masked columns. */
  readonly lookups: number;
  /** Some expression names a column that the policy classifies, or looks people up by it. */
  readonly namesProtected: boolean;
  /** A write stores a value that is made of protected columns. */
  readonly storesProtected: boolean;
  /** How many people each person counts as. */
  readonly cost: number;
  /** Calls of functions that may write. */
  readonly actingCalls: number;
}

/** A price that identifies the people in constants by the constants' positions. */
export interface Price extends Omit<StatementPrice, "pins"> {
  readonly pins?: readonly PinnedConstant[];
}

/** Empty for a role that counts no one. */
export interface Priced {
  readonly price?: Price;
}

/** A statement, and everything that determines its price. */
export interface Bill {
  readonly statement: BoundStatement;
  readonly given: Given;
  readonly told: Told;
}

/**
 * A query's price. `unnamed`: how many people each row may show without identifying them; `totals`: how many row counts
 * all rows show.
 */
export function queryPrice(bill: Bill, query: BoundQuery, unnamed: number, totals = 0): Priced {
  const { statement, given, told } = bill;
  if (!countsPeople(given.role)) return {};
  const pins = pinnedPeople(statement, given, query);
  const prepaid = actingPrice(told);
  return {
    price: {
      execution: EXECUTION + placePrice(bill, query) + TAG * totals + writesWithin(bill).units + prepaid,
      ...(prepaid > 0 && { prepaid }),
      ...planningPrice(bill),
      ...(pins !== undefined && { pins }),
      pinned: pins !== undefined && cannotFail(statement) ? 0 : EXECUTION,
      bySize: isBySize(bill, unnamed),
    },
  };
}

/** A write's price. */
export function writePrice(bill: Bill, query: BoundQuery, unnamed: number): Priced {
  const { units, tells } = writesWithin(bill);
  const all = unitsOfWrite(bill, query) + units;
  return flatPrice(bill, tells ? Math.max(EXECUTION, all) : all, unnamed);
}

/** The number in the tag reveals how many rows matched, and success reveals which unique values and keys exist. */
function unitsOfWrite({ statement, given, told }: Bill, query: BoundQuery): number {
  const { choice, tells } = toldByWrite(statement, given, query);
  if (typeof choice === "object") return EXECUTION * (choice.tries ?? 0);
  // A new row that conflicts with no existing value reveals something, and so does a key that matches one.
  // By how much the table grows, the size of a stored value is a number like the one in the tag.
  const one = EXECUTION + (told.storesProtected ? TAG : 0);
  return { new: tells || told.lookups > 0 ? EXECUTION : 0, one, many: EXECUTION + TAG }[choice];
}

/**
 * The additional price of writes in WITH: they run whether or not they are referred to, and their effects and locks can
 * be read afterwards.
 */
interface WritesWithin {
  readonly units: number;
  /** Success of the whole statement reveals something, which an execution's price covers. */
  readonly tells: boolean;
}

function writesWithin(bill: Bill): WritesWithin {
  const { statement, given } = bill;
  const within = statement.queries.filter(
    (query) =>
      query.write !== undefined && query !== statement.top && concernsPeople(statement, given, query),
  );
  let [units, tells] = [0, false];
  for (const query of within) {
    const own = unitsOfWrite(bill, query);
    if (toldByWrite(statement, given, query).choice === "new") tells ||= own > 0;
    else units += own;
  }
  return { units, tells };
}

/** For a statement that shows no one; undefined if its writes in WITH reveal no one. */
export function priceOfWritesWithin(bill: Bill): Priced | undefined {
  const { units, tells } = writesWithin(bill);
  return units === 0 && !tells ? undefined : flatPrice(bill, Math.max(EXECUTION, units), 0);
}

export function copyPrice(bill: Bill, unnamed: number): Priced {
  return flatPrice(bill, EXECUTION, unnamed);
}

export function planPrice(bill: Bill): Priced {
  const { statement, given } = bill;
  const references = tablesIn(statement).filter((each) => speaksOfPeople(given.sights, each));
  // Statistics of protected values choose a scan for each child table and partition, and for each table below a view.
  const isChosen = statement.queries.some((query) => dependsOnProtected(statement, given.sights, query));
  const scans = references.reduce(
    (sum, { source }) => sum + (isChosen && source.kind === "table" ? scansOf(given, source.relation) : 1),
    0,
  );
  return flatPrice(bill, EXECUTION + PLAN * Math.min(MOST_SCANS, Math.max(1, scans)), 0);
}

/** How many tables a plan scans for a relation. */
function scansOf(given: Given, relation: Relation): number {
  const { lineage, kind } = relation;
  if (lineage === undefined || kind !== "view") return given.sights.takers(relation).length;
  const below = lineage.dependsOn.map(({ relation: oid }) => {
    const base = given.catalog.relationsByOid.get(oid);
    const times = Math.max(1, lineage.references?.times.get(oid) ?? 1);
    return base === undefined || base.oid === relation.oid ? 1 : times * scansOf(given, base);
  });
  return below.reduce((sum, scans) => sum + scans, 0);
}

/** The result of a call that may write is paid for before it runs: afterwards it could no longer be refused. */
function actingPrice({ actingCalls, cost }: Told): number {
  return PERSON * actingCalls * cost;
}

function flatPrice(bill: Bill, execution: number, unnamed: number): Priced {
  if (!countsPeople(bill.given.role)) return {};
  return {
    price: { execution, pinned: execution, bySize: isBySize(bill, unnamed), ...planningPrice(bill) },
  };
}

/**
 * Rows of people who have been counted cost nothing, and which of them are shown can reveal others: OFFSET skips rows
 * that are not counted, and WITH TIES and LIMIT stop at a position that depends on the order of all rows. This is free
 * if no protected value influences which rows there are, and their order.
 */
function placePrice({ statement, given }: Bill, query: BoundQuery): number {
  const { offset, limit, sort } = query.clauses;
  const isPlaced =
    offset !== undefined || query.traits.hasTies || (limit !== undefined && sort !== undefined);
  if (isPlaced && dependsOnProtected(statement, given.sights, query))
    return offset === undefined ? PLACE : TAG;
  return locksRows(statement) ? PLACE : 0;
}

function planningPrice({ statement }: Bill): Pick<StatementPrice, "planning"> {
  return planningCanFail(statement) ? { planning: PLANNED } : {};
}

/** Rows that do not identify their people can be made from any number of them. */
function isBySize({ statement, given }: Bill, unnamed: number): boolean {
  const gatherings = gatheringsOf(statement, given);
  // Some of these gather rows of queries that show no one.
  if (gatherings.some(({ isAggregate }) => !isAggregate)) return true;
  const { aggregates, windows } = summarisingCalls(statement, given.catalog);
  return (
    unnamed > 0 &&
    (aggregates > 0 ||
      windows > 0 ||
      gatherings.length > 0 ||
      tablesIn(statement).some((each) => sightOf(given.sights, each)?.gathers === true))
  );
}
