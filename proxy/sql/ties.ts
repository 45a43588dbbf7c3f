import { isDeepStrictEqual } from "node:util";
import type { A_Expr, ColumnRef, Node, ParamRef, TypeCast } from "libpg-query";
import type { SubjectHop } from "../policy/subject-path.ts";
import type { LeftOut } from "./absence.ts";
import type { Analysis, FromReference, Level, RelationUse } from "./analysis.ts";
import { type Clause, columnEquality, columnName, conjuncts, onlyReference } from "./conditions.ts";
import { outerReference } from "./gathering.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import type { Subject } from "./subjects.ts";

/*
 * Which references of a statement speak of one and the same person: `t.customer_id = c.id` ties tickets to the customer,
 * and `c.id = 7` holds both to a person who is known before the statement runs.
 */

/** Notes what a level's conditions say of its references: ties among them and to levels around, and constants. */
export function noteTies(
  analysis: Analysis,
  level: Level,
  clauses: readonly Clause[],
  leftOut: readonly LeftOut[],
): void {
  for (const { quals, restrictable } of clauses) {
    for (const conjunct of conjuncts(quals)) {
      noteConstant(analysis, level, conjunct, restrictable);
      noteEquality(analysis, level, conjunct, restrictable);
    }
  }
  // Rows of the side that an outer join may leave out are there only where its condition holds.
  for (const { references, held } of leftOut)
    for (const test of held) noteEquality(analysis, level, test, references);
}

function noteEquality(
  analysis: Analysis,
  level: Level,
  conjunct: Node,
  restricted: readonly FromReference[],
): void {
  const pair = columnEquality(conjunct);
  if (pair === undefined) return;
  for (const [own, other] of [pair, [pair[1], pair[0]] as const]) {
    const target = onlyReference(level, own);
    if (target?.use === undefined || !restricted.includes(target)) continue;
    const further = onlyReference(level, other) ?? outerReference(level, { ColumnRef: other });
    if (further?.use === undefined) continue;
    const [mine, theirs] = [subjectNamed(target, own), subjectNamed(further, other)];
    const isSame = mine !== undefined && mine.namespace === theirs?.namespace;
    if (!isSame && !leadsTo(target, own, further, other) && !leadsTo(further, other, target, own)) continue;
    const known = analysis.ties.get(target.use) ?? [];
    if (!known.includes(further.use)) analysis.ties.set(target.use, [...known, further.use]);
  }
}

function noteConstant(
  analysis: Analysis,
  level: Level,
  conjunct: Node,
  restricted: readonly FromReference[],
): void {
  const [type, body] = nodeOf(conjunct);
  const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? body : {}) as A_Expr;
  if (kind !== "AEXPR_OP" || lexpr === undefined || rexpr === undefined) return;
  if (name?.length !== 1 || name[0] === undefined || stringOf(name[0]) !== "=") return;
  for (const [side, value] of [
    [lexpr, rexpr],
    [rexpr, lexpr],
  ] as const) {
    const [sideType, column] = nodeOf(side);
    if (sideType !== "ColumnRef" || constantOf(value) === undefined) continue;
    const target = onlyReference(level, column as ColumnRef);
    if (target?.use === undefined || !restricted.includes(target)) continue;
    if (subjectNamed(target, column as ColumnRef) !== undefined) analysis.constants.set(target.use, value);
  }
}

/** The subject that a column is: of a path's first column nobody knows the person yet. */
function subjectNamed(reference: FromReference, column: ColumnRef): Subject | undefined {
  const people = reference.use?.sight?.people;
  const { subject } = people ?? {};
  if (subject === undefined || people?.unknown !== 0 || (subject.hops?.length ?? 0) > 0) return undefined;
  return columnName(reference, column) === subject.column ? subject : undefined;
}

/**
 * Whether the first step of a reference's path is the other's very row, whose person the path goes on to: of a message
 * `ticket_id -> tickets.customer_id`, joined by `ticket_id = tickets.id`.
 */
function leadsTo(from: FromReference, column: ColumnRef, to: FromReference, key: ColumnRef): boolean {
  const [mine, theirs] = [from, to].map(({ use }) => use?.sight?.people);
  const [subject, other] = [mine?.subject, theirs?.subject];
  const [first, ...rest] = subject?.hops ?? [];
  if (first === undefined || subject === undefined || other === undefined) return false;
  if (mine?.unknown !== 0 || theirs?.unknown !== 0) return false;
  const goesOn = other.hops ?? [];
  return (
    columnName(from, column) === subject.column &&
    first.relation.oid === to.use?.relation.oid &&
    first.key === columnName(to, key) &&
    first.column === other.column &&
    subject.namespace === other.namespace &&
    isDeepStrictEqual(rest.map(step), goesOn.map(step))
  );
}

function step({ relation, key, column }: SubjectHop): unknown {
  return [relation.oid, key, column];
}

/** Whether the use's rows are those of the person of one of `told`. */
export function isTiedTo(analysis: Analysis, use: RelationUse, told: ReadonlySet<RelationUse>): boolean {
  return tiedUses(analysis, use).some((each) => told.has(each));
}

/** What holds the use to one person who is known beforehand. */
export function constantBehind(analysis: Analysis, use: RelationUse): Constant | undefined {
  for (const each of tiedUses(analysis, use)) {
    const value = analysis.constants.get(each);
    if (value !== undefined) return constantOf(value);
  }
  return undefined;
}

/** How many references a parameter holds to a person. */
export function timesHeldBy({ constants }: Analysis, parameter: number): number {
  let count = 0;
  for (const value of constants.values()) {
    const constant = constantOf(value);
    if (constant !== undefined && "parameter" in constant && constant.parameter === parameter) count++;
  }
  return count;
}

function tiedUses(analysis: Analysis, use: RelationUse): readonly RelationUse[] {
  const seen = new Set([use]);
  for (const each of seen) for (const other of analysis.ties.get(each) ?? []) seen.add(other);
  return [...seen];
}

/** A constant where it stands, or a parameter by its number (from 1). Its value is nobody's business here. */
export type Constant = { readonly place: number } | { readonly parameter: number };

/** Of a constant, a parameter, or one of them cast to a type whose values read the same. */
function constantOf(node: Node): Constant | undefined {
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
