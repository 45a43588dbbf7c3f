import type { Node, NullTest } from "libpg-query";
import { nodeOf } from "../parse/grammar.ts";
import type { BoundQuery, BoundRelation, BoundStatement, FromItem } from "./bound.ts";
import { relationsIn } from "./from-parts.ts";
import { conjuncts, ownColumn } from "./pins.ts";
import { columnMeant } from "./questions.ts";

/** One of the AND-ed conditions of a query. */
export interface ChoosingCondition {
  readonly node: Node;
  /**
   * References whose rows contribute to the answer only if they satisfy the condition: it could also be applied to the
   * table directly.
   */
  readonly of: ReadonlySet<BoundRelation>;
}

/**
 * The conditions of WHERE and of inner joins. Conditions of outer joins are not included: if one fails, the row is
 * replaced by another with NULLs.
 */
export function choosingConditions(
  statement: BoundStatement,
  { form, from, clauses, write }: BoundQuery,
): readonly ChoosingCondition[] {
  if (form === "insert" || form === "merge") return [];
  const where = (clauses.where ?? []).flatMap(conjuncts);
  const asked = new Set(where.flatMap((node) => notNull(statement, node) ?? []));
  const present = from.flatMap((item) => presentIn(item, asked));
  const all = new Set([...(write === undefined ? [] : [write.target]), ...present]);
  return [...from.flatMap(ofInnerJoins), ...where.map((node) => ({ node, of: all }))];
}

/**
 * The reference for which `c.id IS NOT NULL` is false in every row that an outer join leaves it out of. ORMs add this
 * to a filter by a relation. The condition itself stays in its place, so the remaining conditions can move.
 */
function notNull(statement: BoundStatement, condition: Node): BoundRelation | undefined {
  const [type, body] = nodeOf(condition);
  if (type !== "NullTest") return undefined;
  const { nulltesttype, arg } = body as NullTest;
  if (nulltesttype !== "IS_NOT_NULL" || arg === undefined) return undefined;
  const column = columnMeant(statement, nodeOf(arg)[1]);
  return column && ownColumn(column).relation;
}

function ofInnerJoins(item: FromItem): readonly ChoosingCondition[] {
  if (item.kind === "relation") return [];
  const { type, left, right, on } = item;
  const own = type === "inner" && on !== undefined ? conjuncts(on) : [];
  const of = new Set(presentIn(item, new Set()));
  return [...ofInnerJoins(left), ...ofInnerJoins(right), ...own.map((node) => ({ node, of }))];
}

/** The references in the item that no outer join leaves out of a row that contains all of `asked`. */
function presentIn(item: FromItem, asked: ReadonlySet<BoundRelation>): readonly BoundRelation[] {
  if (item.kind === "relation") return [item.relation];
  const { type, left, right } = item;
  const isAsked = (side: FromItem): boolean => relationsIn([side]).some((relation) => asked.has(relation));
  return [
    ...(type === "inner" || type === "left" || isAsked(left) ? presentIn(left, asked) : []),
    ...(type === "inner" || type === "right" || isAsked(right) ? presentIn(right, asked) : []),
  ];
}
