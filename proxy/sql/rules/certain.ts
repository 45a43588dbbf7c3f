import type { A_Expr, Node, TypeCast } from "libpg-query";
import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { conditionsOf, conjuncts } from "../bind/pins.ts";
import { isLeakproof } from "../comparisons.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";

/*
 * The planner chooses the order of a query's conditions. One that can fail may fail on a row that another one rejects,
 * and its error reveals something about that row. A query whose conditions cannot fail reveals only the people in its
 * rows.
 */

/** Whether no condition of a statement can fail on a row: plain comparisons of plain columns and constants. */
export function cannotFail(statement: BoundStatement): boolean {
  return statement.queries.every((query) => isCertain(statement, query));
}

function isCertain(statement: BoundStatement, query: BoundQuery): boolean {
  const { form, withs, relations, clauses } = query;
  if (withs.length > 0 || (form !== "select" && form !== "values")) return false;
  return (
    relations.every(isPlainRelation) &&
    conditionsOf(query).every((each) => "pair" in each || isCertainCondition(statement, each.node)) &&
    (clauses.having ?? []).every((each) => isCertainCondition(statement, each))
  );
}

/** A view's columns are expressions, which may fail too. */
function isPlainRelation({ source, hasAlias }: BoundRelation): boolean {
  if (source.kind === "join") return !hasAlias;
  return source.kind === "table" && source.relation.lineage === undefined && source.sample === undefined;
}

function isCertainCondition(statement: BoundStatement, condition: Node): boolean {
  return conjuncts(condition).every((conjunct) => {
    const [type, body] = nodeOf(conjunct);
    switch (type) {
      case "BoolExpr":
        return ((body as { args?: Node[] }).args ?? []).every((each) => isCertainCondition(statement, each));
      case "NullTest":
      case "BooleanTest":
        return isPlain(statement, (body as { arg?: Node }).arg);
      case "A_Expr":
        return isCertainComparison(statement, body as A_Expr);
      default:
        return isPlain(statement, conjunct);
    }
  });
}

function isCertainComparison(statement: BoundStatement, { kind, name, lexpr, rexpr }: A_Expr): boolean {
  const symbol = name?.length === 1 && name[0] !== undefined ? stringOf(name[0]) : "";
  const isKnown =
    (kind === "AEXPR_OP" && isLeakproof(symbol)) ||
    (kind === "AEXPR_IN" && isLeakproof(symbol)) ||
    ((kind === "AEXPR_BETWEEN" || kind === "AEXPR_NOT_BETWEEN") && symbol !== "");
  return isKnown && isPlain(statement, lexpr) && isPlain(statement, rexpr);
}

/**
 * A column, a constant, a parameter, or a list of these. A cast of a constant is computed once, whatever the rows are.
 */
function isPlain(statement: BoundStatement, node: Node | undefined): boolean {
  if (node === undefined) return false;
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ColumnRef":
      return statement.meanings.get(body)?.kind === "column";
    case "A_Const":
    case "ParamRef":
      return true;
    case "List":
      return ((body as { items?: Node[] }).items ?? []).every((each) => isPlain(statement, each));
    case "TypeCast": {
      const { arg } = body as TypeCast;
      return arg !== undefined && ["A_Const", "ParamRef"].includes(nodeOf(arg)[0]);
    }
    default:
      return false;
  }
}
