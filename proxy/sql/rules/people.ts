import { countsReads, type Role } from "../../policy/policy.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { dependsOn } from "../bind/dependencies.ts";
import type { RelationSight, Sights } from "../sight.ts";
import type { Subject } from "../subjects.ts";
import { isSystemSchema } from "../system-relations.ts";

/* Questions of the rules about the role's view of a bound statement's references. */

/**
 * How the role sees a reference's relation; undefined if it is not a relation, if the role may not read it, and for
 * open system relations.
 */
export function sightOf(sights: Sights, { source }: BoundRelation): RelationSight | undefined {
  if (source.kind !== "table") return undefined;
  const { relation } = source;
  if (isSystemSchema(relation.schema)) return sights.ofSystem(relation);
  const sight = sights.of(relation);
  return sight.ok ? sight.sight : undefined;
}

/** The role's reads have a limit. */
export function isCounted(role: Role): boolean {
  return countsReads(role) || role.limits.rows !== undefined;
}

/** Whether people are counted, so that what a statement reveals about them has a price. */
export function countsPeople({ budget, watch }: Role): boolean {
  return watch === true || budget.some(({ what }) => what === "people");
}

export function speaksOfPeople(sights: Sights, reference: BoundRelation): boolean {
  return sightOf(sights, reference)?.people !== undefined;
}

/** The one person that a column of a reference identifies. */
export interface Person {
  readonly subject: Subject;
  /** A row of the reference is about no one else. */
  readonly isAlone: boolean;
}

/** Undefined if the column is not the subject itself: at the start of a path it is not the person. */
export function personNamed(sights: Sights, column: BoundColumn): Person | undefined {
  const named = keyOfPerson(sights, column);
  return named === undefined || (named.subject.hops?.length ?? 0) > 0 ? undefined : named;
}

/** Like `personNamed`, but also at the start of a path: rows with the same value belong to one person. */
export function keyOfPerson(sights: Sights, { relation, source }: BoundColumn): Person | undefined {
  const people = sightOf(sights, relation)?.people;
  if (people?.subject === undefined || source.kind !== "own") return undefined;
  const { subject, unknown } = people;
  return source.column.name === subject.column ? { subject, isAlone: unknown === 0 } : undefined;
}

/** An unknown column counts as protected. */
export function isProtected(sights: Sights, { relation, source }: BoundColumn): boolean {
  const name = source.kind === "own" ? source.column.name : undefined;
  return sightOf(sights, relation)?.columns.find(({ column }) => column.name === name)?.isProtected !== false;
}

/** Whether one of them is a protected column of a table. */
export function hasProtected(sights: Sights, columns: Iterable<BoundColumn>): boolean {
  return [...columns].some(
    (column) => column.relation.source.kind === "table" && isProtected(sights, column),
  );
}

/** Whether protected values influence which rows a query returns, or their order. */
export function dependsOnProtected(statement: BoundStatement, sights: Sights, query: BoundQuery): boolean {
  const { columns, relations } = dependsOn(statement, [query]);
  return (
    [...columns].some((column) => isProtected(sights, column)) ||
    [...relations].some((reference) => sightOf(sights, reference)?.isChosen === true)
  );
}
