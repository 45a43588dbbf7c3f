import { isDeepStrictEqual } from "node:util";
import type { A_Expr, Node } from "libpg-query";
import type { Catalog, Relation } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, FromItem } from "../bind/bound.ts";
import { relationsIn } from "../bind/from-parts.ts";
import { type Condition, conjuncts, joinConditions, ownColumn } from "../bind/pins.ts";
import { columnMeant } from "../bind/questions.ts";
import { type Body, forEachChild, nodeOf, stringOf, visitNode } from "../parse/grammar.ts";
import type { Subject } from "../subjects.ts";
import { denied } from "./denied.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import { keyOfPerson, sightOf, speaksOfPeople } from "./people.ts";
import { namedReferences } from "./summary-clauses.ts";

/*
 * A join that multiplies a person's rows at will changes the rounding of a group each time, and the average of many
 * roundings is the true value (docs/aggregates.md). So each relation of a summary has at most one row for each row of
 * those before it, by a unique key, or is joined by the person or by a foreign key, and then only once: how often a
 * person's rows are counted depends on the schema and not on the statement.
 */

/** Why a query's FROM multiplies the rows of its people in a way that the statement chooses. */
export function multiplyingJoin(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): Refusal | undefined {
  const references = namedReferences(query);
  if (references.length < 2) return undefined;
  const holds = holdsOf(statement, query);
  let first: Loose | undefined;
  for (const start of references) {
    const loose = looseFrom(given, start, references, holds);
    if (loose === undefined) return undefined;
    first ??= loose;
  }
  const [reference, beside] = [first?.reference, first?.beside].map(
    (each) => each && sightOf(given.sights, each)?.key,
  );
  const { role } = given;
  return denied(
    role,
    `role "${role.name}" may not summarise ${beside} beside ${reference}, which could multiply its rows`,
    "aggregates_only",
    "Join tables of people by the person (t.customer_id = c.id) or by a key, others by a whole unique key, and each table once.",
  );
}

/** An equality that is true in all rows that contain its column's reference. */
interface Hold {
  readonly own: BoundColumn;
  /** The references that the other side names; empty for a constant. */
  readonly others: readonly BoundRelation[];
  /** The other side, if it is a plain column. */
  readonly theirs: BoundColumn | undefined;
}

interface Loose {
  readonly reference: BoundRelation;
  readonly beside: BoundRelation;
}

/** A reference that cannot be added to the joins that begin with `start`; undefined if all can. */
function looseFrom(
  given: Given,
  start: BoundRelation,
  references: readonly BoundRelation[],
  holds: readonly Hold[],
): Loose | undefined {
  const added = new Set([start]);
  for (let before = 0; before < added.size; ) {
    before = added.size;
    for (const each of references) if (!added.has(each) && isHeld(given, each, added, holds)) added.add(each);
  }
  const reference = references.find((each) => !added.has(each));
  return reference && { reference, beside: start };
}

function isHeld(
  given: Given,
  reference: BoundRelation,
  added: ReadonlySet<BoundRelation>,
  holds: readonly Hold[],
): boolean {
  const own = holds.filter(
    (hold) => hold.own.relation === reference && hold.others.every((other) => added.has(other)),
  );
  const relation = relationOf(reference);
  if (relation === undefined) return false;
  const isSingle = keysOf(given.catalog, relation).some((key) =>
    key.every((column) => own.some((hold) => nameOf(hold.own) === column)),
  );
  const isAgain = [...added].some((each) => relationOf(each) === relation);
  if (isAgain) return isSingle && own.some((hold) => joinsItself(hold) && joinsByPerson(given, hold));
  return isSingle || own.some((hold) => joinsByPerson(given, hold)) || refersTo(given, reference, own);
}

function relationOf({ source }: BoundRelation): Relation | undefined {
  return source.kind === "table" ? source.relation : undefined;
}

/** The relation's own name of the column, regardless of aliases. */
function nameOf({ source }: BoundColumn): string | undefined {
  return source.kind === "own" ? source.column.name : undefined;
}

function joinsItself({ own, others: [other] }: Hold): boolean {
  return other !== undefined && relationOf(other) === relationOf(own.relation);
}

/** Both columns identify the person, or the row at the start of the path to them. */
function joinsByPerson({ sights }: Given, { own, others: [other], theirs }: Hold): boolean {
  const mine = keyOfPerson(sights, own);
  const people = other && sightOf(sights, other)?.people;
  const far = people?.unknown === 0 ? people.subject : undefined;
  if (mine?.isAlone !== true || far === undefined || mine.subject.namespace !== far.namespace) return false;
  const name = theirs && nameOf(theirs);
  if (far.column === name && isDeepStrictEqual(keysOnWay(mine.subject), keysOnWay(far))) return true;
  const [next] = mine.subject.hops ?? [];
  return (
    next !== undefined && other !== undefined && next.relation === relationOf(other) && next.key === name
  );
}

function keysOnWay({ hops = [] }: Subject): readonly (readonly [number, string])[] {
  return hops.map(({ relation, key }) => [relation.oid, key]);
}

/** Joined by a whole foreign key to a table of people: its rows belong to one row there. */
function refersTo({ sights }: Given, reference: BoundRelation, own: readonly Hold[]): boolean {
  if (!speaksOfPeople(sights, reference)) return false;
  return (relationOf(reference)?.foreignKeys ?? []).some(({ columns, references, referencedColumns }) =>
    columns.every((column, index) =>
      own.some(
        ({ own: mine, others: [other], theirs }) =>
          nameOf(mine) === column &&
          theirs !== undefined &&
          nameOf(theirs) === referencedColumns[index] &&
          other !== undefined &&
          relationOf(other)?.oid === references &&
          speaksOfPeople(sights, other),
      ),
    ),
  );
}

/** Sets of columns in which no two rows have the same values. */
function keysOf(catalog: Catalog, relation: Relation): readonly (readonly string[])[] {
  const { kind, rowKeys, lineage } = relation;
  return lineage !== undefined && kind === "view" ? keysOfView(catalog, relation) : rowKeys;
}

/** The keys of the one table that the view shows row by row. */
function keysOfView(catalog: Catalog, { lineage }: Relation): readonly (readonly string[])[] {
  const { origins, references, functions } = lineage ?? {};
  const [from, ...more] = references?.times ?? [];
  const base = from && catalog.relationsByOid.get(from[0]);
  if (base === undefined || more.length > 0 || from?.[1] !== 1) return [];
  const mayMultiply = functions?.some((oid) => catalog.functionsByOid.get(oid)?.returnsSet !== false);
  if (mayMultiply !== false) return [];
  const named = new Map(
    [...(origins ?? [])].flatMap(([name, { relation, column }]) => {
      const copied = base.columns.find(({ number }) => number === column)?.name;
      return relation === base.oid && copied !== undefined ? [[copied, name] as const] : [];
    }),
  );
  return keysOf(catalog, base).flatMap((key) => {
    const names = key.flatMap((column) => named.get(column) ?? []);
    return names.length === key.length ? [names] : [];
  });
}

/** The equalities of a query that restrict what its FROM joins. */
function holdsOf(statement: BoundStatement, query: BoundQuery): readonly Hold[] {
  const where = (query.clauses.where ?? []).flatMap(conjuncts).map((node) => ({ node }));
  const all = [...query.from.flatMap((item) => holdsOfItem(statement, item)), ...holdsIn(statement, where)];
  // A column of an enclosing query is not known to have one value.
  return all.filter(({ own, others }) =>
    [own.relation, ...others].every((each) => query.relations.includes(each)),
  );
}

function holdsOfItem(statement: BoundStatement, item: FromItem): readonly Hold[] {
  if (item.kind === "relation") return [];
  const { type, left, right } = item;
  const [inLeft, inRight] = [left, right].map((side) => new Set(relationsIn([side])));
  // The condition says nothing about rows without a match: it restricts only the side that is then left out.
  const holds = ({ own, others }: Hold): boolean => {
    const touches = (side: ReadonlySet<BoundRelation> | undefined) =>
      [own.relation, ...others].some((each) => side?.has(each));
    return (
      (type !== "left" && type !== "full" ? true : touches(inRight)) &&
      (type !== "right" && type !== "full" ? true : touches(inLeft))
    );
  };
  return [
    ...holdsOfItem(statement, left),
    ...holdsOfItem(statement, right),
    ...holdsIn(statement, joinConditions(item)).filter(holds),
  ];
}

function holdsIn(statement: BoundStatement, conditions: readonly Condition[]): readonly Hold[] {
  return conditions.flatMap((condition) => {
    if ("pair" in condition) {
      const [left, right] = condition.pair.map(ownColumn);
      return left === undefined || right === undefined ? [] : [...hold(left, right), ...hold(right, left)];
    }
    const { node } = condition;
    const [type, body] = nodeOf(node);
    const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? body : {}) as A_Expr;
    if (kind !== "AEXPR_OP" || (name ?? []).map(stringOf).at(-1) !== "=" || !isPlainEquality({ node }))
      return [];
    if (lexpr === undefined || rexpr === undefined) return [];
    return [...holdOfSides(statement, lexpr, rexpr), ...holdOfSides(statement, rexpr, lexpr)];
  });
}

function hold(own: BoundColumn, theirs: BoundColumn): readonly Hold[] {
  return own.relation === theirs.relation ? [] : [{ own, others: [theirs.relation], theirs }];
}

function holdOfSides(statement: BoundStatement, side: Node, far: Node): readonly Hold[] {
  const own = columnOf(statement, nodeOf(side)[1]);
  const named = namesIn(far).map((name) => columnOf(statement, name));
  const known = named.filter((column) => column !== undefined);
  // A side that is named otherwise (as a row) is not known to have one value.
  if (own === undefined || known.length < named.length) return [];
  const others = known.map(({ relation }) => relation);
  if (others.includes(own.relation)) return [];
  return [{ own, others, theirs: columnOf(statement, nodeOf(far)[1]) }];
}

function columnOf(statement: BoundStatement, name: Body): BoundColumn | undefined {
  const column = columnMeant(statement, name);
  return column && ownColumn(column);
}

function namesIn(node: Node): readonly Body[] {
  const found: Body[] = [];
  const look = (type: string, body: Body): void => {
    if (type === "ColumnRef") found.push(body);
    else forEachChild(type, body, look);
  };
  visitNode(node, look);
  return found;
}
