import type { LockingClause, RangeVar } from "libpg-query";
import { relationKey } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { ownColumn, type Pin, pinsOf } from "../bind/pins.ts";
import { tablesChoosing, tablesWithin } from "../bind/tables.ts";
import { nodeOf } from "../parse/grammar.ts";
import type { Sights } from "../sight.ts";
import { denied } from "./denied.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import { dependsOnProtected, isCounted, personNamed, sightOf, speaksOfPeople } from "./people.ts";

/*
 * Rows that are deleted, changed or locked depending on another person's values are a copy of those values: on a table
 * with a row for each person, position and letter, DELETE … USING leaves the names. So the values that choose such rows
 * must belong to the person of those rows: reading the result then counts that person.
 */

/** Why a query's rows may not be written or locked: they would reveal what chooses them, uncounted. */
export function markedByStrangers(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): Refusal | undefined {
  const { sights, role } = given;
  if (!isCounted(role)) return undefined;
  const written = strangerToWritten(statement, sights, query);
  const stranger = written ?? strangerToLocked(statement, sights, query);
  if (stranger === undefined) return undefined;
  return denied(
    role,
    `role "${role.name}" may not choose the rows to ${written === undefined ? "lock" : "write"} by other people's, of ${stranger}`,
    "budget",
    "Which rows were chosen would reveal people who are not counted: join by the person, or name the rows by their keys.",
  );
}

/** The key of a relation of other people that chooses which rows of its target an UPDATE or DELETE writes. */
export function strangerToWritten(
  statement: BoundStatement,
  sights: Sights,
  query: BoundQuery,
): string | undefined {
  if (query.write === undefined) return undefined;
  const choosing = tablesChoosing(statement, query);
  return strangerTo(samePersons(statement, sights), sights, query.write.target, choosing);
}

/** Like `strangerToWritten`, for the rows of each relation that FOR UPDATE locks. */
export function strangerToLocked(
  statement: BoundStatement,
  sights: Sights,
  query: BoundQuery,
): string | undefined {
  const locked = (query.clauses.locking ?? []).flatMap((clause) =>
    lockedBy(query, nodeOf(clause)[1] as LockingClause),
  );
  if (locked.length === 0) return undefined;
  const same = samePersons(statement, sights);
  const choosing = tablesWithin(statement, query);
  for (const rows of locked) {
    // Rows of system relations belong to no person.
    const stranger =
      sightOf(sights, rows) === undefined ? undefined : strangerTo(same, sights, rows, choosing);
    if (stranger !== undefined) return stranger;
  }
  return undefined;
}

/**
 * A subquery's own relations are locked with it; the rows of WITH and of functions are not (transformLockingClause in
 * parser/analyze.c).
 */
function lockedBy({ relations }: BoundQuery, { lockedRels }: LockingClause): readonly BoundRelation[] {
  const names = lockedRels?.map((node) => (nodeOf(node)[1] as RangeVar).relname);
  return relations
    .filter(({ alias }) => names?.includes(alias) !== false)
    .flatMap((relation) => lockedWith(relation));
}

function lockedWith(relation: BoundRelation): readonly BoundRelation[] {
  const { source } = relation;
  if (source.kind === "table") return [relation];
  return source.kind === "subquery" ? source.query.relations.flatMap(lockedWith) : [];
}

function strangerTo(
  same: SamePersons,
  sights: Sights,
  rows: BoundRelation,
  choosing: ReadonlySet<BoundRelation>,
): string | undefined {
  const known = new Set([rows]);
  for (const each of known) for (const other of same.get(each) ?? []) known.add(other);
  for (const reference of choosing) {
    const { source } = reference;
    if (source.kind === "table" && !known.has(reference) && speaksOfPeople(sights, reference))
      return relationKey(source.relation.schema, source.relation.name);
  }
  return undefined;
}

/** References that are restricted to the same person as each other, one to one. */
type SamePersons = ReadonlyMap<BoundRelation, readonly BoundRelation[]>;

function samePersons(statement: BoundStatement, sights: Sights): SamePersons {
  const same = new Map<BoundRelation, readonly BoundRelation[]>();
  const add = (one: BoundRelation, other: BoundRelation): void => {
    same.set(one, [...(same.get(one) ?? []), other]);
  };
  for (const query of statement.queries) {
    for (const pin of pinsOf(statement, query)) {
      const other = otherColumn(statement, sights, pin);
      if (other === undefined || !isPlainEquality(pin) || !holds(pin, other)) continue;
      const theirs = identitiesOf(sights, other);
      if (!identitiesOf(sights, pin.column).some((each) => theirs.includes(each))) continue;
      add(pin.column.relation, other.relation);
      add(other.relation, pin.column.relation);
    }
  }
  return same;
}

/** `customer_id IN (SELECT c.id FROM customers c …)`, or `=`: the rows of the one query are people of the other. */
function otherColumn(statement: BoundStatement, sights: Sights, { to }: Pin): BoundColumn | undefined {
  if (to.kind === "column") return to.column;
  if (to.kind !== "query" || !choosesEachRowByItself(statement, sights, to.query)) return undefined;
  const [output, ...more] = to.query.outputs;
  return output?.column === undefined || more.length > 0 ? undefined : ownColumn(output.column);
}

/**
 * `SELECT DISTINCT ON (id / 2) id … ORDER BY id / 2, name` keeps, of two people, the one whose name comes first: a kept
 * row reveals something about the other's name. If only columns that everyone may see determine the first row, it
 * reveals nothing.
 */
function choosesEachRowByItself(statement: BoundStatement, sights: Sights, query: BoundQuery): boolean {
  if (query.form !== "select") return false;
  const { distinct = [], limit, offset } = query.clauses;
  // A plain DISTINCT, an empty node, removes duplicates.
  const isOfSome = distinct.some((node) => Object.keys(node).length > 0);
  if (!isOfSome && limit === undefined && offset === undefined) return true;
  return !dependsOnProtected(statement, sights, query);
}

/** An outer join's condition restricts only its nullable side: rows of the other side are present without it. */
function holds({ restricts, column }: Pin, other: BoundColumn): boolean {
  return restricts.has(column.relation) || restricts.has(other.relation);
}

/** How the column identifies a row's person: two rows with a common identity are about the same person. */
function identitiesOf(sights: Sights, column: BoundColumn): readonly string[] {
  const { source } = column.relation;
  if (source.kind !== "table" || column.source.kind !== "own") return [];
  if (!speaksOfPeople(sights, column.relation)) return [];
  const { relation } = source;
  const [key, ...more] = relation.primaryKey;
  const person = personNamed(sights, column);
  return [
    ...(key === column.source.column.name && more.length === 0
      ? [`row of ${relationKey(relation.schema, relation.name)}`]
      : []),
    ...(person?.isAlone === true ? [person.subject.namespace] : []),
  ];
}
