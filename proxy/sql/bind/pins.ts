import type { A_Expr, BoolExpr, List, Node, SubLink, TypeCast } from "libpg-query";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, FromItem } from "./bound.ts";
import { relationsIn } from "./from-parts.ts";
import { columnMeant } from "./questions.ts";

/*
 * Conditions that fix a column to a value: `c.id = 7`, `t.customer_id = c.id`, `id IN (7, 8)`. What they mean for a
 * role is decided by the rules, as is whether `=` is Postgres's own operator for the column's type.
 */

export interface Pin {
  readonly column: BoundColumn;
  readonly to: PinnedTo;
  /** In an outer join, a condition is true only for the rows that contain the nullable side. */
  readonly holds: "in every row" | "where joined";
  /** References of the query whose rows appear only if the condition is true. */
  readonly restricts: ReadonlySet<BoundRelation>;
  /** The condition as written; undefined for USING and NATURAL. */
  readonly node: Node | undefined;
}

export type PinnedTo =
  /** Constants and parameters, one or more. */
  | { readonly kind: "values"; readonly nodes: readonly Node[] }
  /** `= ANY ($1)`: as many values as the array has. */
  | { readonly kind: "array"; readonly node: Node }
  /** A column of this query or of one around it. */
  | { readonly kind: "column"; readonly column: BoundColumn }
  /** `IN (SELECT …)`, `= (SELECT …)` */
  | { readonly kind: "query"; readonly query: BoundQuery };

/** The equalities among the AND-ed conditions of WHERE, ON and USING of one query. */
export function pinsOf(statement: BoundStatement, query: BoundQuery): readonly Pin[] {
  return conditionsOf(query).flatMap(({ holds, restricts, ...condition }) =>
    equalitiesIn(statement, condition).map((equality) => ({ ...equality, holds, restricts })),
  );
}

type Scope = Pick<Pin, "holds" | "restricts">;

/** One of several AND-ed conditions; `pair`: columns that USING or NATURAL compares. */
export type Condition = { readonly node: Node } | { readonly pair: readonly [BoundColumn, BoundColumn] };

/**
 * All AND-ed conditions of a query, and the rows for which each is true. An INSERT's WHERE does not choose what it
 * stores.
 */
export function conditionsOf({ form, from, clauses, relations }: BoundQuery): readonly (Condition & Scope)[] {
  if (form === "insert") return [];
  const all: Scope = { holds: "in every row", restricts: new Set(relations) };
  const where = (clauses.where ?? []).flatMap(conjuncts);
  return [...where.map((node) => ({ node, ...all })), ...from.flatMap((item) => ofJoins(item, all))];
}

/** `around`: what a condition restricts if it is true for all rows of this item. */
function ofJoins(item: FromItem, around: Scope): readonly (Condition & Scope)[] {
  if (item.kind === "relation") return [];
  const { type, left, right } = item;
  const [inLeft, inRight]: readonly Scope[] = [left, right].map((side) => ({
    holds: "where joined",
    restricts: new Set(relationsIn([side])),
  }));
  if (inLeft === undefined || inRight === undefined) throw new Error("a join has two sides");
  const neither: Scope = { holds: "where joined", restricts: new Set() };
  const own = { inner: around, left: inRight, right: inLeft, full: neither }[type];
  return [
    ...joinConditions(item).map((condition) => ({ ...condition, ...own })),
    ...ofJoins(left, type === "right" || type === "full" ? inLeft : around),
    ...ofJoins(right, type === "left" || type === "full" ? inRight : around),
  ];
}

/** The AND-ed conditions of one join. */
export function joinConditions({ on, pairs }: FromItem & { readonly kind: "join" }): readonly Condition[] {
  const nodes = on === undefined ? [] : conjuncts(on);
  return [...nodes.map((node) => ({ node })), ...pairs.map((pair) => ({ pair }))];
}

/** `a AND (b AND c)` → a, b, c */
export function conjuncts(node: Node): readonly Node[] {
  const [type, body] = nodeOf(node);
  if (type !== "BoolExpr" || (body as BoolExpr).boolop !== "AND_EXPR") return [node];
  return ((body as BoolExpr).args ?? []).flatMap(conjuncts);
}

export type Equality = Omit<Pin, "holds" | "restricts">;

/** The equalities that a condition expresses, in either direction. */
export function equalitiesIn(statement: BoundStatement, condition: Condition): readonly Equality[] {
  if ("pair" in condition) {
    const [left, right] = condition.pair.map(ownColumn);
    return left === undefined || right === undefined ? [] : bothWays(left, right, undefined);
  }
  const { node } = condition;
  const [type, body] = nodeOf(node);
  if (type === "SubLink") return inSubquery(statement, node, body as SubLink);
  return type === "A_Expr" ? ofExpression(statement, node, body as A_Expr) : [];
}

function bothWays(left: BoundColumn, right: BoundColumn, node: Node | undefined): readonly Equality[] {
  return [
    { column: left, to: { kind: "column", column: right }, node },
    { column: right, to: { kind: "column", column: left }, node },
  ];
}

function ofExpression(statement: BoundStatement, node: Node, body: A_Expr): readonly Equality[] {
  const { kind, name = [], lexpr, rexpr } = body;
  if (lexpr === undefined || rexpr === undefined || name.map(stringOf).at(-1) !== "=") return [];
  const [left, right] = [columnOf(statement, lexpr), columnOf(statement, rexpr)];
  if (kind === "AEXPR_OP") {
    if (left !== undefined && right !== undefined) return bothWays(left, right, node);
    return [...equalTo(statement, left, rexpr, node), ...equalTo(statement, right, lexpr, node)];
  }
  if (left === undefined) return [];
  const items = kind === "AEXPR_IN" ? (nodeOf(rexpr)[1] as List).items : undefined;
  if (items?.every(isValue) === true) return [{ column: left, to: { kind: "values", nodes: items }, node }];
  return kind === "AEXPR_OP_ANY" && isValue(rexpr)
    ? [{ column: left, to: { kind: "array", node: rexpr }, node }]
    : [];
}

function equalTo(
  statement: BoundStatement,
  column: BoundColumn | undefined,
  other: Node,
  node: Node,
): readonly Equality[] {
  if (column === undefined) return [];
  if (isValue(other)) return [{ column, to: { kind: "values", nodes: [other] }, node }];
  const [type, body] = nodeOf(other);
  const query = type === "SubLink" ? queryOf(statement, body as SubLink) : undefined;
  const isValueOf = query !== undefined && (body as SubLink).subLinkType === "EXPR_SUBLINK";
  return isValueOf ? [{ column, to: { kind: "query", query }, node }] : [];
}

/** `column IN (SELECT …)`; `= ANY` has the same node, other operators have a name. */
function inSubquery(statement: BoundStatement, node: Node, body: SubLink): readonly Equality[] {
  const { subLinkType, testexpr, operName = [] } = body;
  const isEquality = operName.length === 0 || operName.map(stringOf).at(-1) === "=";
  const column = testexpr && columnOf(statement, testexpr);
  const query = queryOf(statement, body);
  if (subLinkType !== "ANY_SUBLINK" || !isEquality || column === undefined || query === undefined) return [];
  return [{ column, to: { kind: "query", query }, node }];
}

function queryOf({ queryOf }: BoundStatement, { subselect }: SubLink): BoundQuery | undefined {
  return subselect && queryOf.get(nodeOf(subselect)[1]);
}

function columnOf(statement: BoundStatement, node: Node): BoundColumn | undefined {
  const column = columnMeant(statement, nodeOf(node)[1]);
  return column && ownColumn(column);
}

/** The reference's own column that a join exposes. */
export function ownColumn(column: BoundColumn): BoundColumn {
  const { source } = column;
  return source.kind === "merged" && source.plain !== undefined ? ownColumn(source.plain) : column;
}

/** A constant or a parameter, with or without a cast. NULL equals nothing. */
export function isValue(node: Node): boolean {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast")
    return (body as TypeCast).arg !== undefined && isValue((body as TypeCast).arg as Node);
  return type === "ParamRef" || (type === "A_Const" && (body as { isnull?: boolean }).isnull !== true);
}
