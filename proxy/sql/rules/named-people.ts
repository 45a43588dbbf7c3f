import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, WithQuery } from "../bind/bound.ts";
import { originOf } from "../bind/questions.ts";
import { purposeOf } from "../purposes.ts";
import { isIdentified, type Subject } from "../subjects.ts";
import { countedWhenLeftOut } from "./absence.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";
import { relationsInWith } from "./people-shown.ts";
import { givesDistinctRows, givesRows, isSelected } from "./row-forms.ts";
import { namedReferences, namesOfFrom } from "./summary-clauses.ts";
import { isTiedTo, tiesOf } from "./ties.ts";

/* The people of a query's rows, if an appended column can identify them. */

/** A person whom a row is about. */
export interface NamedPerson {
  readonly reference: BoundRelation;
  readonly subject: Subject;
  /** The reference by which the query can name the subject: the same one, or a subquery that passes it on. */
  readonly by: BoundRelation;
  /** The name of the subject column there. */
  readonly exposed: string;
  /** If there is no one, the row counts an unknown person. */
  readonly isCounted: boolean;
}

/**
 * The people whom the rows of a query can identify: of the references whose clear subject can be named unambiguously.
 */
export function peopleNamed(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): readonly NamedPerson[] {
  if (givesRows(statement, query)) return subjectsOf(statement, given, query);
  // For other roles, an additional column with DISTINCT would have its own price.
  if (given.role.watch !== true || !givesDistinctRows(statement, query)) return [];
  // Who is counted when left out has another identity in each row: rows that are the same would be several.
  return subjectsOf(statement, given, query).filter(
    ({ reference, by, exposed, isCounted }) =>
      !isCounted && (isSelected(query, by, exposed) || isKeySelected(statement, given, query, reference)),
  );
}

/** The people whom a query's expressions can name, however its rows result from those of FROM. */
export function subjectsOf(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): readonly NamedPerson[] {
  const counted = countedHere(statement, given, query);
  return namedReferences(query).flatMap((reference) => {
    const named = personOf(given, query, reference);
    if (named === undefined) return passedOn(statement, given, query, reference);
    return isIdentified(named.subject, reference.alias)
      ? [{ ...named, isCounted: counted.has(reference) }]
      : [];
  });
}

/**
 * The people of a subquery in FROM whose rows are those of its own FROM, one by one, and who can be named by what it passes on.
 * Only of watched roles: what such rows tell others about people who are left out has a price that knows no names.
 */
function passedOn(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
  by: BoundRelation,
): readonly NamedPerson[] {
  const inner = given.role.watch === true ? queryBehind(statement, by) : undefined;
  if (
    inner === undefined ||
    by.alias === "" ||
    namesOfFrom(query).filter((name) => name === by.alias).length > 1
  )
    return [];
  return [...peopleNamed(statement, given, inner), ...returned(given, inner)].flatMap((person) => {
    const passed = by.columns.find((column) => {
      const origin = originOf(statement, column);
      return origin?.relation === person.reference && isOwn(origin, person.subject.column);
    });
    const isOnly = by.columns.filter(({ name }) => name === passed?.name).length === 1;
    return passed !== undefined && isOnly && isIdentified(person.subject, by.alias)
      ? [{ ...person, by, exposed: passed.name }]
      : [];
  });
}

/** Whose row an UPDATE or DELETE within WITH returns. */
function returned(given: Given, { form, write }: BoundQuery): readonly NamedPerson[] {
  const subject = write && sightOf(given.sights, write.target)?.people?.subject;
  if (
    write === undefined ||
    subject === undefined ||
    (form !== "update" && form !== "delete" && form !== "insert")
  )
    return [];
  return [{ reference: write.target, subject, by: write.target, exposed: subject.column, isCounted: false }];
}

/** A subquery, or a WITH query that nothing else refers to: its people are shown here alone. */
function queryBehind(statement: BoundStatement, { source }: BoundRelation): BoundQuery | undefined {
  if (source.kind === "subquery") return source.query;
  return source.kind === "with" && isUsedOnce(statement, source.query)
    ? statement.bodyOf.get(source.query)
    : undefined;
}

function isUsedOnce({ queries, recursive }: BoundStatement, query: WithQuery): boolean {
  const uses = queries
    .flatMap(({ relations }) => relations)
    .filter(({ source }) => source.kind === "with" && source.query === query);
  return uses.length === 1 && !recursive.has(query);
}

/** Of a watched role: whether each of these references shows nobody but `people`. */
export function areTied(
  statement: BoundStatement,
  { sights }: Given,
  people: readonly NamedPerson[],
  references: readonly BoundRelation[],
): boolean {
  const told = new Set(people.map(({ reference }) => reference));
  const ties = tiesOf(statement, sights);
  const areOnce = [...statement.bodyOf.keys()].every((query) => isUsedOnce(statement, query));
  return (
    areOnce &&
    references.every((each) => sightOf(sights, each)?.people?.unknown === 0 && isTiedTo(ties, each, told))
  );
}

function isOwn({ source }: BoundColumn, name: string): boolean {
  return source.kind === "own" && source.column.name === name;
}

/**
 * Whether distinct rows have the primary key of the reference, by which its other columns are the same. Rows of tables that
 * inherit from it may have a key twice.
 */
function isKeySelected(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
  reference: BoundRelation,
): boolean {
  const relation = sightOf(given.sights, reference)?.relation;
  if (relation === undefined || relation.primaryKey.length === 0 || relation.isKeyDeferrable) return false;
  const heirs = [...given.catalog.relationsByOid.values()].filter(({ parents }) =>
    parents.includes(relation.oid),
  );
  if (heirs.some(({ isPartition }) => !isPartition)) return false;
  const selected = query.outputs.flatMap(({ column }) => (column && originOf(statement, column)) ?? []);
  return relation.primaryKey.every((key) =>
    selected.some((origin) => origin.relation === reference && isOwn(origin, key)),
  );
}

/** The references of a query whose people count as an unknown person when they are left out. */
export function countedHere(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): ReadonlySet<BoundRelation> {
  const named = namedReferences(query).filter((each) => personOf(given, query, each) !== undefined);
  return countedWhenLeftOut(statement, given.sights, query, new Set(named));
}

/** The name of a reference's subject, if the query can name it and the name is unambiguous. */
export function personOf(
  { sights }: Given,
  query: BoundQuery,
  reference: BoundRelation,
): Omit<NamedPerson, "isCounted"> | undefined {
  const subject = sightOf(sights, reference)?.people?.subject;
  if (subject === undefined || !namedReferences(query).includes(reference)) return undefined;
  const column = reference.columns.find(
    ({ source }) => source.kind === "own" && source.column.name === subject.column,
  );
  if (column === undefined) return undefined;
  // An alias list may give its name to another column too.
  const isOnly =
    namesOfFrom(query).filter((name) => name === reference.alias).length === 1 &&
    reference.columns.filter(({ name }) => name === column.name).length === 1;
  return isOnly ? { reference, subject, by: reference, exposed: column.name } : undefined;
}

/** References in subqueries that are restricted to a person whom the row identifies: they show no one else. */
export function tiedPeople(statement: BoundStatement, given: Given, people: readonly NamedPerson[]): number {
  const told = new Set(people.map(({ reference }) => reference));
  if (told.size === 0) return 0;
  const { sights } = given;
  const ties = tiesOf(statement, sights);
  const inWith = relationsInWith(statement);
  const isTied = (reference: BoundRelation): boolean =>
    sightOf(sights, reference)?.people?.unknown === 0 &&
    !told.has(reference) &&
    !inWith.has(reference) &&
    isTiedTo(ties, reference, told);
  return statement.queries
    .flatMap(({ relations, write }) => relations.filter((each) => each !== write?.target))
    .filter(isTied).length;
}

/** Whether it can be determined for all people of the row that the user has work with them. */
export function haveKnownPurpose(given: Given, people: readonly NamedPerson[]): boolean {
  return (
    people.length > 0 &&
    people.every(({ reference, by }) => {
      const sight = sightOf(given.sights, reference);
      return sight !== undefined && purposeOf(given, sight, by.alias) !== undefined;
    })
  );
}
