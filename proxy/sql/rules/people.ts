import type { BoundColumn, BoundRelation } from "../bind/bound.ts";
import type { RelationSight, Sights } from "../sight.ts";
import type { Subject } from "../subjects.ts";
import { isSystemSchema } from "../system-relations.ts";

/* What rules ask of the role's view of a bound statement's references. */

/** How the role sees a reference's relation; undefined for what is no relation, for what it may not read, and for the system's open ones. */
export function sightOf(sights: Sights, { source }: BoundRelation): RelationSight | undefined {
  if (source.kind !== "table") return undefined;
  const { relation } = source;
  if (isSystemSchema(relation.schema)) return sights.ofSystem(relation);
  const sight = sights.of(relation);
  return sight.ok ? sight.sight : undefined;
}

export function speaksOfPeople(sights: Sights, reference: BoundRelation): boolean {
  return sightOf(sights, reference)?.people !== undefined;
}

/** The one person whom a column of a reference names. */
export interface Person {
  readonly subject: Subject;
  /** A row of the reference is about nobody else. */
  readonly isAlone: boolean;
}

/** Undefined where a column is not the subject itself: at the beginning of a path it is not the person. */
export function personNamed(sights: Sights, column: BoundColumn): Person | undefined {
  const named = keyOfPerson(sights, column);
  return named === undefined || (named.subject.hops?.length ?? 0) > 0 ? undefined : named;
}

/** The same, also at the beginning of a path: rows with one value of it are one person's. */
export function keyOfPerson(sights: Sights, { relation, source }: BoundColumn): Person | undefined {
  const people = sightOf(sights, relation)?.people;
  if (people?.subject === undefined || source.kind !== "own") return undefined;
  const { subject, unknown } = people;
  return source.column.name === subject.column ? { subject, isAlone: unknown === 0 } : undefined;
}
