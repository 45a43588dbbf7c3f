import type { ColumnRef, Node, ResTarget } from "libpg-query";
import type { Column } from "../../catalog/catalog.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundRelation, BoundStatement } from "../bind/bound.ts";
import { isComparedType } from "../comparisons.ts";
import { nodeOf } from "../parse/grammar.ts";
import { tellsWhose } from "./assignments.ts";
import { isIncoming } from "./base-columns.ts";
import type { Given } from "./given.ts";
import { isMadeOfGiven } from "./lookup-sides.ts";
import { conditionOn } from "./own-writes.ts";
import type { Target } from "./write-findings.ts";

/*
 * ORMs that save a row send all of its columns (Django's save(), Rails' upsert_all). Assigning a column that the role
 * may not change is allowed if the row already has the value: the assignment is rewritten to fail if the row has
 * another value.
 */

/** An assignment that either changes nothing or fails: rules about changes need not look at it. */
export interface KeptColumn {
  readonly column: Column;
  /** The item of SET that has the value. */
  readonly item: ResTarget;
  readonly value: Node;
  /** Sent in place of the error if the row has another value. */
  readonly refusal: Refusal;
}

/** A kept column together with the write's target. */
export interface KeptAssignment {
  readonly target: BoundRelation;
  readonly kept: KeptColumn;
}

export interface Assignments {
  readonly kept: readonly KeptColumn[];
  /** All other assignments. */
  readonly changed: readonly Node[];
}

/** A statement that assigns only columns that the role may not change is meant to change them. */
export function sortedAssignments(
  statement: BoundStatement,
  given: Given,
  target: Target,
  items: readonly Node[] = [],
): Assignments {
  const found = items.map((node) => keptColumn(statement, given, target, nodeOf(node)[1] as ResTarget));
  if (!found.includes(undefined)) return { kept: [], changed: items };
  return {
    kept: found.filter((each) => each !== undefined),
    changed: items.filter((_, index) => found[index] === undefined),
  };
}

function keptColumn(
  statement: BoundStatement,
  given: Given,
  target: Target,
  item: ResTarget,
): KeptColumn | undefined {
  const { role } = given;
  const { name = "", val, indirection, location } = item;
  const sight = target.sight?.columns.find(({ column }) => column.name === name);
  if (sight?.kind !== "real" || val === undefined || location === undefined || indirection !== undefined)
    return undefined;
  const why = tellsWhose(given, target, name) ? "budget" : conditionOn(given, target, name);
  if (why === undefined || !isComparedType(given.catalog, sight.column.typeOid)) return undefined;
  if (!isNull(val) && !isMadeOfGiven(val) && !isOfNewRow(statement, val)) return undefined;
  const refusal = refuse("42501", `role "${role.name}" may not change ${target.key}.${name}`, {
    rule: `roles.${role.name}.${why}`,
    hint: "A row of this statement has another value there. Leave the column out, or send the value that it has.",
  });
  return { column: sight.column, item, value: val, refusal };
}

function isNull(value: Node): boolean {
  const [type, body] = nodeOf(value);
  return type === "A_Const" && (body as { isnull?: boolean }).isnull === true;
}

/** `excluded.a`: a value that the client provides, or the present value of the row that an upsert found. */
function isOfNewRow({ meanings }: BoundStatement, value: Node): boolean {
  const [type, body] = nodeOf(value);
  const meaning = type === "ColumnRef" ? meanings.get(body) : undefined;
  const isQualified = (body as ColumnRef).fields?.length === 2;
  return isQualified && meaning?.kind === "column" && isIncoming(meaning.column.relation);
}
