import type { A_Expr, JoinExpr, Node, SelectStmt, TypeCast } from "libpg-query";
import { conjuncts, isLeakproof } from "./conditions.ts";
import { forEachChild, nodeOf, stringOf } from "./grammar.ts";

/*
 * The planner runs the conditions of a query in an order of its own, so one that can fail may fail on a row that another
 * one rejects, and its error tells of that row. A query whose conditions cannot fail tells of nobody but those in its rows.
 */

/** Whether no condition of a query, at any depth, can fail on a row: plain comparisons of plain columns and constants. */
export function cannotFail(node: object): boolean {
  let isSafe = true;
  const look = (type: string, body: object): void => {
    if (type === "SelectStmt") isSafe &&= hasSafeConditions(body as SelectStmt);
    else isSafe &&= KNOWN_QUERIES.has(type) || !type.endsWith("Stmt");
    if (isSafe) forEachChild(type, body, look);
  };
  const [type, body] = nodeOf(node);
  look(type, body);
  return isSafe;
}

const KNOWN_QUERIES: ReadonlySet<string> = new Set(["SelectStmt"]);

function hasSafeConditions({ op, withClause, fromClause, whereClause, havingClause }: SelectStmt): boolean {
  if (withClause !== undefined || (op !== undefined && op !== "SETOP_NONE")) return false;
  return (
    (fromClause ?? []).every(isSafeItem) &&
    [whereClause, havingClause].every((each) => each === undefined || isSafeCondition(each))
  );
}

function isSafeItem(item: Node): boolean {
  const [type, body] = nodeOf(item);
  if (type === "RangeVar") return true;
  if (type !== "JoinExpr") return false;
  const { larg, rarg, quals, alias } = body as JoinExpr;
  return (
    alias === undefined &&
    [larg, rarg].every((side) => side !== undefined && isSafeItem(side)) &&
    (quals === undefined || isSafeCondition(quals))
  );
}

function isSafeCondition(condition: Node): boolean {
  return conjuncts(condition).every((conjunct) => {
    const [type, body] = nodeOf(conjunct);
    switch (type) {
      case "BoolExpr":
        return ((body as { args?: Node[] }).args ?? []).every(isSafeCondition);
      case "NullTest":
      case "BooleanTest":
        return isPlain((body as { arg?: Node }).arg);
      case "A_Expr":
        return isSafeComparison(body as A_Expr);
      default:
        return isPlain(conjunct);
    }
  });
}

function isSafeComparison({ kind, name, lexpr, rexpr }: A_Expr): boolean {
  const symbol = name?.length === 1 && name[0] !== undefined ? stringOf(name[0]) : "";
  const isKnown =
    (kind === "AEXPR_OP" && isLeakproof(symbol)) ||
    (kind === "AEXPR_IN" && isLeakproof(symbol)) ||
    ((kind === "AEXPR_BETWEEN" || kind === "AEXPR_NOT_BETWEEN") && symbol !== "");
  return isKnown && isPlain(lexpr) && isPlain(rexpr);
}

/** A column, a constant, a parameter, a list of such. A cast of a constant is done once, whatever the rows are. */
function isPlain(node: Node | undefined): boolean {
  if (node === undefined) return false;
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ColumnRef":
    case "A_Const":
    case "ParamRef":
      return true;
    case "List":
      return ((body as { items?: Node[] }).items ?? []).every(isPlain);
    case "TypeCast": {
      const { arg } = body as TypeCast;
      return arg !== undefined && ["A_Const", "ParamRef"].includes(nodeOf(arg)[0]);
    }
    default:
      return false;
  }
}
