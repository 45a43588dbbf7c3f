import type { LockingClause, RangeVar } from "libpg-query";
import { relationKey } from "../../catalog/catalog.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { ownColumn, type Pin, pinsOf } from "../bind/pins.ts";
import { tablesChoosing, tablesWithin } from "../bind/tables.ts";
import { nodeOf } from "../grammar.ts";
import type { Sights } from "../sight.ts";
import { isPlainEquality } from "./equalities.ts";
import { personNamed, sightOf, speaksOfPeople } from "./people.ts";

/*
 * Rows that are deleted, changed or locked because of somebody else's values are a copy of them: of a table with a row
 * for each person, place and letter, DELETE … USING leaves the names. So what chooses such rows must be of the person
 * whose rows they are: whoever reads the marks has that person counted.
 */

/** The key of a relation that chooses which rows of its target an UPDATE or DELETE writes, and is of other people. */
export function strangerToWritten(
  statement: BoundStatement,
  sights: Sights,
  query: BoundQuery,
): string | undefined {
  if (query.write === undefined) return undefined;
  const choosing = tablesChoosing(statement, query);
  return strangerTo(samePersons(statement, sights), sights, query.write.target, choosing);
}

/** The same for the rows that FOR UPDATE locks, of each relation that it does. */
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
    // Of the system's own relations no row is a person's.
    const stranger =
      sightOf(sights, rows) === undefined ? undefined : strangerTo(same, sights, rows, choosing);
    if (stranger !== undefined) return stranger;
  }
  return undefined;
}

/** A subquery's own relations are locked with it; what WITH and functions give is not (transformLockingClause in parser/analyze.c). */
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

/** References that are held to the same person as each other, one to one. */
type SamePersons = ReadonlyMap<BoundRelation, readonly BoundRelation[]>;

function samePersons(statement: BoundStatement, sights: Sights): SamePersons {
  const same = new Map<BoundRelation, readonly BoundRelation[]>();
  const add = (one: BoundRelation, other: BoundRelation): void => {
    same.set(one, [...(same.get(one) ?? []), other]);
  };
  for (const query of statement.queries) {
    for (const pin of pinsOf(statement, query)) {
      const other = otherColumn(pin);
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
function otherColumn({ to }: Pin): BoundColumn | undefined {
  if (to.kind === "column") return to.column;
  const [output, ...more] = to.kind === "query" && to.query.form === "select" ? to.query.outputs : [];
  return output?.column === undefined || more.length > 0 ? undefined : ownColumn(output.column);
}

/** An outer join's condition holds its nullable side alone: rows of the other one are there without it. */
function holds({ restricts, column }: Pin, other: BoundColumn): boolean {
  return restricts.has(column.relation) || restricts.has(other.relation);
}

/** What the column says of whom the row speaks: of two rows with something in common it is the same person. */
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
