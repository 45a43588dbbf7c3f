import type { FuncCall, Node, ResTarget } from "libpg-query";
import type { Catalog } from "../../catalog/catalog.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { choiceDependsOn, type Dependencies, storedDependsOn } from "../bind/dependencies.ts";
import { pinsOf } from "../bind/pins.ts";
import { columnMeant } from "../bind/questions.ts";
import { functionsNamed } from "../functions.ts";
import { type Body, forEachChild, nodeOf, visitNode } from "../parse/grammar.ts";
import type { Sights } from "../sight.ts";
import { isSystemSchema } from "../system-relations.ts";
import { columnsNamedAt } from "./base-columns.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import { isProtected, sightOf } from "./people.ts";
import { keysNamed } from "./write-choice.ts";

/*
 * The people in one row that is stored: those from whose protected values its own are made, and those whose values decide that
 * it is stored. (`INSERT INTO x SELECT id, 'a' FROM customers WHERE email LIKE 'a%'` stores letters of addresses.)
 */

/** The people whom a row shows that a query stores. */
export interface PeopleInRow {
  /** Infinity: any number. */
  readonly people: number;
  /** Not only the one whom the written row was of before. */
  readonly isOfOthers: boolean;
}

export function peopleInRow(statement: BoundStatement, given: Given, query: BoundQuery): PeopleInRow {
  const relations = relationsCopied(statement, given, query);
  const isOfOthers = [...relations].some((relation) => relation !== query.write?.target);
  if ([...relations].some((relation) => isOfMany(given, relation)))
    return { people: Number.POSITIVE_INFINITY, isOfOthers };
  const rows = rowsWithin(statement, query);
  const people = [...relations].reduce(
    (sum, relation) => sum + peopleOf(given, relation) * (rows.get(relation) ?? 1),
    0,
  );
  return { people, isOfOthers };
}

/** Those of one row of a reference: a view may show several. */
function peopleOf({ sights }: Given, reference: BoundRelation): number {
  const people = sightOf(sights, reference)?.people;
  return people === undefined ? 1 : Math.max(1, people.unknown + (people.subject === undefined ? 0 : 1));
}

function relationsCopied(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): ReadonlySet<BoundRelation> {
  const target = query.write?.target;
  const isOther = ({ relation }: BoundColumn) => relation !== target;
  const values = storedDependsOn(statement, query);
  const choice = choiceDependsOn(statement, query);
  const copied = new Set(protectedIn(given, values).filter(isOther).map(relationOf));
  for (const column of protectedIn(given, choice))
    if (!isFound(statement, query, column)) copied.add(column.relation);
  for (const reference of choice.relations)
    if (sightOf(given.sights, reference)?.isChosen === true) copied.add(reference);
  if (target !== undefined && showsOwn(statement, given, query, target)) copied.add(target);
  return copied;
}

const relationOf = ({ relation }: BoundColumn): BoundRelation => relation;

function protectedIn({ sights }: Given, { columns }: Dependencies): readonly BoundColumn[] {
  return [...columns].filter((column) => {
    const { source } = column.relation;
    // What is in a temporary table has been counted on its way there, or came from the client.
    if (source.kind !== "table") return false;
    return isSystemSchema(source.relation.schema) ? isSampled(column.relation) : isProtected(sights, column);
  });
}

/** The client has named the value, and by it one row at most: `WHERE email = $1`. */
export function isFound(statement: BoundStatement, query: BoundQuery, column: BoundColumn): boolean {
  const within = query.write?.source ?? query;
  return (
    query.form !== "merge" &&
    keysNamed(statement, within, column.relation).length > 0 &&
    pinsOf(statement, within).some(
      (pin) =>
        pin.column === column &&
        pin.restricts.has(column.relation) &&
        isPlainEquality(pin) &&
        pin.to.kind === "values" &&
        pin.to.nodes.length === 1,
    )
  );
}

/**
 * Whether a row's own protected values show in what is stored: in a column that is not protected, from where they could be
 * copied without being counted, or by the size of a value that is made of them, which the table's size and the places of its
 * rows tell (`pg_relation_size`, `ctid`).
 */
function showsOwn(
  statement: BoundStatement,
  { sights, catalog }: Given,
  { clauses }: BoundQuery,
  target: BoundRelation,
): boolean {
  const sight = sightOf(sights, target);
  if (sight === undefined) return false;
  return (clauses.assignments ?? []).some((node) => {
    const [type, body] = nodeOf(node);
    const { name, val } = type === "ResTarget" ? (body as ResTarget) : {};
    if (val === undefined) return false;
    const column = sight.columns.find((each) => each.column.name === name);
    if (column?.isProtected === true && isAsLong(statement, catalog, val, { target, name })) return false;
    return namesOwn(statement, sights, val, target);
  });
}

/** Whether an expression names a protected column of the row as it was: not of `excluded`, which the client has sent. */
function namesOwn(statement: BoundStatement, sights: Sights, value: Node, target: BoundRelation): boolean {
  let names = false;
  const look = (type: string, body: Body): void => {
    const { columns, wholes } = columnsNamedAt(statement, body);
    names ||= wholes.includes(target);
    names ||= columns.some((each) => each.relation === target && isProtected(sights, each));
    if (!names) forEachChild(type, body, look);
  };
  visitNode(value, look);
  return names;
}

interface Place {
  readonly target: BoundRelation;
  readonly name: string | undefined;
}

/** The column's own value, as it is or in another case. */
function isAsLong(statement: BoundStatement, catalog: Catalog, value: Node, place: Place): boolean {
  const [type, body] = nodeOf(value);
  const { args = [] } = (type === "FuncCall" ? body : {}) as FuncCall;
  const [arg, ...more] = args;
  if (arg !== undefined && more.length === 0) {
    const meant = functionsNamed(catalog, body as FuncCall);
    const isCase = meant.length > 0 && meant.every((fn) => fn.schema === "pg_catalog" && CASES.has(fn.name));
    return isCase && isOwn(statement, nodeOf(arg)[1], place);
  }
  return type === "ColumnRef" && isOwn(statement, body, place);
}

const CASES: ReadonlySet<string> = new Set(["lower", "upper"]);

function isOwn(statement: BoundStatement, body: Body, { target, name }: Place): boolean {
  const column = columnMeant(statement, body);
  return column?.relation === target && column.name === name;
}

/** A row of it shows many people: of a view that gathers, or of what ANALYZE has sampled. */
function isOfMany({ sights }: Given, reference: BoundRelation): boolean {
  return isSampled(reference) || sightOf(sights, reference)?.gathers === true;
}

/** pg_statistic and the views over it. */
function isSampled({ source }: BoundRelation): boolean {
  if (source.kind !== "table") return false;
  const { schema, name } = source.relation;
  return isSystemSchema(schema) && /^pg_(?:stats|statistic)/.test(name);
}

/**
 * Of how many rows of each reference one row of the query is made: a WITH query that is named twice gives two. Recursion is no
 * matter of numbers, and is looked at elsewhere.
 */
function rowsWithin(statement: BoundStatement, query: BoundQuery): ReadonlyMap<BoundRelation, number> {
  const times = new Map<BoundQuery, number>([[query, 1]]);
  const found = new Map<BoundRelation, number>();
  const add = <Key>(map: Map<Key, number>, key: Key | undefined, count: number) => {
    if (key !== undefined) map.set(key, (map.get(key) ?? 0) + count);
  };
  const named = new Set(
    statement.queries.flatMap((each) => [
      ...each.relations.flatMap(({ source }) => (source.kind === "subquery" ? [source.query] : [])),
      ...(each.setOperation?.arms ?? []),
      ...(each.write?.source === undefined ? [] : [each.write.source]),
      ...each.withs.flatMap((made) => statement.bodyOf.get(made) ?? []),
    ]),
  );
  // Each comes after those that are inside it.
  for (const each of statement.queries.toReversed()) {
    const parent = statement.parentOf.get(each);
    if (!named.has(each) && parent !== undefined) add(times, each, times.get(parent) ?? 0);
    const count = times.get(each) ?? 0;
    if (count === 0) continue;
    for (const relation of each.relations) {
      add(found, relation, count);
      const { source } = relation;
      if (source.kind === "subquery") add(times, source.query, count);
      if (source.kind === "with") add(times, statement.bodyOf.get(source.query), count);
    }
    for (const arm of each.setOperation?.arms ?? []) add(times, arm, count);
    add(times, each.write?.source, count);
  }
  return found;
}
