import type { A_Expr, FuncCall, Node, TypeCast } from "libpg-query";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { plainCall, textType } from "./lookup-sides.ts";

/*
 * If a role sees only some rows of a table, its conditions run together with the policy's, in an order that the planner
 * chooses. A value whose computation can fail then fails if it is evaluated for a hidden row, and does not fail if
 * there is none. So such a value is computed before any row is read: a condition without columns is run once, before
 * the table is read (create_gating_plan of optimizer/plan/createplan.c).
 */

const SAFE_FUNCTIONS = new Set(["lower", "upper", "btrim", "ltrim", "rtrim"]);

/** Whether computing it can fail when the statement runs: failures that depend only on its text occur earlier. */
export function mayFail(value: Node): boolean {
  const [type, body] = nodeOf(value);
  switch (type) {
    case "A_Const":
    case "ParamRef":
      return false;
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      if (arg === undefined) return true;
      // The parser converts a string constant to the type; the planner converts other constants.
      if (nodeOf(arg)[0] === "A_Const") return false;
      return textType(typeName) === undefined || mayFail(arg);
    }
    case "FuncCall": {
      const call = body as FuncCall;
      return !SAFE_FUNCTIONS.has(plainCall(call) ?? "") || (call.args ?? []).some(mayFail);
    }
    case "A_Expr": {
      const { kind, name, lexpr, rexpr } = body as A_Expr;
      const isJoined = kind === "AEXPR_OP" && (name ?? []).map(stringOf).join() === "||";
      return !isJoined || [lexpr, rexpr].some((side) => side === undefined || mayFail(side));
    }
    default:
      return true;
  }
}
