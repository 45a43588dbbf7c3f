import { isDeepStrictEqual } from "node:util";
import type { Node, ParamRef, TypeCast } from "libpg-query";
import type { SubjectHop } from "../../policy/subject-path.ts";
import type { BoundColumn, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { type Pin, pinsOf } from "../bind/pins.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { Sights } from "../sight.ts";
import { isPlainEquality } from "./equalities.ts";
import { keyOfPerson, personNamed, sightOf } from "./people.ts";

/*
 * Which references of a statement are about the same person: `t.customer_id = c.id` links tickets to the customer, and
 * `c.id = 7` restricts both to a person who is known before the statement runs.
 */

export interface Ties {
  /** References whose rows are restricted to the person of another reference. */
  readonly others: ReadonlyMap<BoundRelation, readonly BoundRelation[]>;
  /** What a reference's subject is compared to, if that is a constant or a parameter. */
  readonly constants: ReadonlyMap<BoundRelation, Constant>;
}

/** A constant by its position, or a parameter by its number (from 1). The value itself is not used here. */
export type Constant = { readonly place: number } | { readonly parameter: number };

/**
 * What the conditions of all queries say about their references: links among them and to enclosing queries, and
 * constants.
 */
export function tiesOf(statement: BoundStatement, sights: Sights): Ties {
  const others = new Map<BoundRelation, readonly BoundRelation[]>();
  const constants = new Map<BoundRelation, Constant>();
  for (const query of statement.queries) {
    for (const pin of pinsOf(statement, query)) {
      const { relation } = pin.column;
      if (!pin.restricts.has(relation) || !isPlainEquality(pin)) continue;
      const other = tiedBy(sights, pin);
      if (other !== undefined) others.set(relation, [...(others.get(relation) ?? []), other]);
      const constant = heldBy(sights, pin);
      if (constant !== undefined) constants.set(relation, constant);
    }
  }
  return { others, constants };
}

function tiedBy(sights: Sights, { column, to }: Pin): BoundRelation | undefined {
  if (to.kind !== "column") return undefined;
  const other = to.column;
  const isTied =
    areSamePerson(sights, column, other) || leadsTo(sights, column, other) || leadsTo(sights, other, column);
  return isTied ? other.relation : undefined;
}

function areSamePerson(sights: Sights, one: BoundColumn, other: BoundColumn): boolean {
  const [mine, theirs] = [personNamed(sights, one), personNamed(sights, other)];
  if (mine?.isAlone !== true || theirs?.isAlone !== true) return false;
  return mine.subject.namespace === theirs.subject.namespace;
}

/**
 * Whether the first step of a reference's path is the other reference's own row, from which the path leads on to the
 * person: for a message `ticket_id -> tickets.customer_id`, joined by `ticket_id = tickets.id`.
 */
function leadsTo(sights: Sights, from: BoundColumn, to: BoundColumn): boolean {
  const mine = keyOfPerson(sights, from);
  const theirs = sightOf(sights, to.relation);
  const [first, ...rest] = mine?.subject.hops ?? [];
  const other = theirs?.people?.subject;
  if (mine?.isAlone !== true || first === undefined || other === undefined) return false;
  return (
    theirs?.people?.unknown === 0 &&
    to.source.kind === "own" &&
    first.relation.oid === theirs.relation.oid &&
    first.key === to.source.column.name &&
    first.column === other.column &&
    mine.subject.namespace === other.namespace &&
    isDeepStrictEqual(rest.map(step), (other.hops ?? []).map(step))
  );
}

function step({ relation, key, column }: SubjectHop): unknown {
  return [relation.oid, key, column];
}

function heldBy(sights: Sights, { column, to }: Pin): Constant | undefined {
  const [value, ...more] = to.kind === "values" ? to.nodes : [];
  if (value === undefined || more.length > 0) return undefined;
  return personNamed(sights, column)?.isAlone === true ? constantOf(value) : undefined;
}

/** Whether the reference's rows belong to the person of one of `told`. */
export function isTiedTo(ties: Ties, reference: BoundRelation, told: ReadonlySet<BoundRelation>): boolean {
  return tiedReferences(ties, reference).some((each) => told.has(each));
}

/** What restricts the reference to one person who is known in advance. */
export function constantBehind(ties: Ties, reference: BoundRelation): Constant | undefined {
  return tiedReferences(ties, reference)
    .map((each) => ties.constants.get(each))
    .find((constant) => constant !== undefined);
}

/** How many references a parameter restricts to a person. */
export function timesHeldBy({ constants }: Ties, parameter: number): number {
  const held = [...constants.values()];
  return held.filter((constant) => "parameter" in constant && constant.parameter === parameter).length;
}

function tiedReferences({ others }: Ties, reference: BoundRelation): readonly BoundRelation[] {
  const seen = new Set([reference]);
  for (const each of seen) for (const other of others.get(each) ?? []) seen.add(other);
  return [...seen];
}

/** For a constant, a parameter, or one of them cast to a type whose values have the same text. */
export function constantOf(node: Node): Constant | undefined {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "A_Const": {
      const { location } = body as { location?: number };
      return { place: location ?? 0 };
    }
    case "ParamRef": {
      const { number } = body as ParamRef;
      return number === undefined ? undefined : { parameter: number };
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      const name = (typeName?.names ?? []).map(stringOf).at(-1) ?? "";
      const isPlain =
        PLAIN_CASTS.has(name) && typeName?.arrayBounds === undefined && typeName?.typmods === undefined;
      return arg !== undefined && isPlain && nodeOf(arg)[0] !== "TypeCast" ? constantOf(arg) : undefined;
    }
    default:
      return undefined;
  }
}

const PLAIN_CASTS: ReadonlySet<string> = new Set(["int2", "int4", "int8", "text", "varchar", "uuid"]);
