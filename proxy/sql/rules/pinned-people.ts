import type { ParamRef } from "libpg-query";
import type { Catalog, Column } from "../../catalog/catalog.ts";
import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { pinsOf } from "../bind/pins.ts";
import { tablesIn } from "../bind/questions.ts";
import { forEachObject } from "../parse/tree.ts";
import type { PinnedPerson } from "../verdict.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import { sightOf, speaksOfPeople } from "./people.ts";
import { ownCalls } from "./people-shown.ts";
import { namesRows, rowsBy } from "./row-names.ts";
import { type Constant, constantBehind, constantOf, type Ties, tiesOf, timesHeldBy } from "./ties.ts";
import { isOneRow } from "./write-choice.ts";

/** A person identified by a parameter, or by the constant at a position of the text (a byte offset). */
export interface PinnedConstant extends Omit<PinnedPerson, "from"> {
  readonly from:
    | Exclude<PinnedPerson["from"], { readonly place: number }>
    | Extract<Constant, { readonly place: number }>;
}

/**
 * The only people about whom a query can reveal anything; undefined if other people's values could affect its answer.
 */
export function pinnedPeople(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): readonly PinnedConstant[] | undefined {
  const ties = tiesOf(statement, given.sights);
  const pins = tablesIn(statement)
    .filter((each) => speaksOfPeople(given.sights, each))
    .map((each) => pinOf(given, query, ties, each));
  const known = pins.filter((pin) => pin !== undefined);
  if (known.length === 0 || known.length < pins.length) return undefined;
  const isPlain =
    ownCalls(statement, given) === 0 && statement.queries.every(({ write }) => write === undefined);
  return isPlain ? distinct(known) : undefined;
}

/** Whether each reference to people, but for the targets of writes, is held to one person by a constant or a parameter. */
export function arePinned(statement: BoundStatement, given: Given, query: BoundQuery): boolean {
  const ties = tiesOf(statement, given.sights);
  const targets = new Set(statement.queries.map(({ write }) => write?.target));
  return tablesIn(statement).every(
    (each) =>
      targets.has(each) ||
      !speaksOfPeople(given.sights, each) ||
      pinOf(given, query, ties, each) !== undefined,
  );
}

/** Whether the rows that an UPDATE writes are one person's, named by a constant or a parameter. */
export function isOfOnePerson(statement: BoundStatement, given: Given, query: BoundQuery): boolean {
  const { write } = query;
  return (
    write !== undefined && pinOf(given, query, tiesOf(statement, given.sights), write.target) !== undefined
  );
}

function pinOf(
  { sights, catalog }: Given,
  query: BoundQuery,
  ties: Ties,
  reference: BoundRelation,
): PinnedConstant | undefined {
  const sight = sightOf(sights, reference);
  const subject = sight?.people?.subject;
  const constant = constantBehind(ties, reference);
  const column = sight?.relation.columns.find(({ name }) => name === subject?.column);
  const kind = column && kindOf(catalog, column);
  if (subject === undefined || constant === undefined || kind === undefined) return undefined;
  return { namespace: subject.namespace, type: kind, from: whereabouts(query, ties, constant) };
}

/**
 * The one row of a query, by a key that a constant or a parameter names: of a write its target's, of a SELECT that of a table
 * whose rows name their person.
 */
export function rowNamed(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): PinnedConstant | undefined {
  const { write, relations, form } = query;
  if (form === "insert" || form === "merge") return undefined;
  const references = write === undefined ? relations.filter((each) => isNamed(given, each)) : [write.target];
  for (const reference of references) {
    const named = rowOf(statement, given, query, reference);
    if (named !== undefined) return named;
  }
  return undefined;
}

/** The same, of a query that gives rows as they are. */
export function shownRow(
  { top, kind, ...statement }: BoundStatement,
  given: Given,
): PinnedConstant | undefined {
  if (top?.form !== "select" || kind !== "select") return undefined;
  const { isGrouped, isAggregated, isDistinct } = top.traits;
  return isGrouped || isAggregated || isDistinct
    ? undefined
    : rowNamed({ top, kind, ...statement }, given, top);
}

function isNamed({ sights }: Given, reference: BoundRelation): boolean {
  const people = sightOf(sights, reference)?.people;
  return people?.subject !== undefined && people.unknown === 0;
}

function rowOf(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
  reference: BoundRelation,
): PinnedConstant | undefined {
  const { sights, catalog } = given;
  const { source } = reference;
  if (source.kind !== "table" || !isOneRow(statement, sights, query, reference)) return undefined;
  const { relation } = source;
  // A child by inheritance may have a row with the same key, and ONLY or LIMIT show one of them.
  if (sights.takers(relation).some((taker) => taker !== relation && !taker.isPartition)) return undefined;
  const ancestors = sights.ancestors(relation);
  for (const { column, to, holds, restricts, ...pin } of pinsOf(statement, query)) {
    // Of a join that may leave it out the row is not always there.
    if (holds !== "in every row") continue;
    // Under a key of the partition's own a row of another partition could take its place.
    const isKey = ancestors.every(({ rowKeys }) =>
      rowKeys.some(([key, ...more]) => key === column.name && more.length === 0),
    );
    if (!isKey || column.relation !== reference || column.source.kind !== "own") continue;
    if (!namesRows(given, relation, column.name)) continue;
    const [value, ...more] = to.kind === "values" ? to.nodes : [];
    if (value === undefined || more.length > 0 || !restricts.has(reference) || !isPlainEquality(pin))
      continue;
    const constant = constantOf(value);
    const kind = kindOf(catalog, column.source.column);
    if (constant === undefined || kind === undefined) continue;
    const namespace = rowsBy(relation, column.name);
    const from =
      "place" in constant
        ? constant
        : { ...constant, isAlone: occurrences(query.node, constant.parameter) === 1 };
    return { namespace, type: kind, from };
  }
  return undefined;
}

function whereabouts(query: BoundQuery, ties: Ties, constant: Constant): PinnedConstant["from"] {
  if ("place" in constant) return constant;
  const { parameter } = constant;
  return { parameter, isAlone: occurrences(query.node, parameter) === timesHeldBy(ties, parameter) };
}

function occurrences(tree: object, parameter: number): number {
  let count = 0;
  const look = (field: string, object: object): void => {
    if (field === "A_Const") return;
    // The parser's JSON omits zeros, but number is never zero.
    if (field === "ParamRef" && (object as ParamRef).number === parameter) count++;
    forEachObject(object, look);
  };
  forEachObject(tree, look);
  return count;
}

function kindOf(catalog: Catalog, column: Column): PinnedPerson["type"] | undefined {
  const type = catalog.typesByOid.get(column.typeOid);
  return type?.schema === "pg_catalog" && isExact(column) ? KINDS[type.name] : undefined;
}

/** Under another collation than its type's a text may equal a constant that is spelt differently. */
function isExact(column: Column): boolean {
  return column.collation === undefined || EXACT.has(column.collation);
}

const EXACT: ReadonlySet<string> = new Set(['pg_catalog."C"', 'pg_catalog."POSIX"']);

/** Types for whose values Sluice can produce the one text form: this excludes padded and approximate types. */
const KINDS: Readonly<Record<string, PinnedPerson["type"]>> = {
  int2: "integer",
  int4: "integer",
  int8: "integer",
  text: "text",
  varchar: "text",
  uuid: "uuid",
};

function distinct(pins: readonly PinnedConstant[]): readonly PinnedConstant[] {
  return [...new Map(pins.map((pin) => [JSON.stringify(pin), pin])).values()];
}
