import type { A_Expr, List, Node } from "libpg-query";
import type { BoundColumn, BoundStatement } from "../bind/bound.ts";
import { isValue, ownColumn } from "../bind/pins.ts";
import { columnMeant } from "../bind/questions.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";

/** `column = constant`, `column IN (…)` and similar: one plain column, and constants or parameters. */
export interface SimpleComparison {
  readonly node: Node;
  readonly column: BoundColumn;
  /** `=`, `<` …, with the column on its left; IN and `= ANY` count as `=`, BETWEEN as `between`. */
  readonly operator: string;
  /** All values that the column is compared with. */
  readonly values: readonly Node[];
  /** The one value is an array with any number of elements. */
  readonly isArray: boolean;
}

/** The corresponding operators if the column is on the right. */
export const MIRRORED: Readonly<Record<string, string>> = {
  "=": "=",
  "<": ">",
  ">": "<",
  "<=": ">=",
  ">=": "<=",
  "<>": "<>",
};

/** Undefined for every other condition, and if the operator's schema is written. */
export function simpleComparison(statement: BoundStatement, node: Node): SimpleComparison | undefined {
  const [type, body] = nodeOf(node);
  if (type !== "A_Expr") return undefined;
  const { kind, name, lexpr, rexpr } = body as A_Expr;
  if (lexpr === undefined || rexpr === undefined || name?.length !== 1 || name[0] === undefined)
    return undefined;
  const symbol = stringOf(name[0]);
  const left = ownColumnOf(statement, lexpr);
  if (left === undefined) {
    const [column, operator] = [ownColumnOf(statement, rexpr), MIRRORED[symbol]];
    const isMirrored =
      kind === "AEXPR_OP" && column !== undefined && operator !== undefined && isValue(lexpr);
    return isMirrored ? { node, column, operator, values: [lexpr], isArray: false } : undefined;
  }
  const items = nodeOf(rexpr)[0] === "List" ? ((nodeOf(rexpr)[1] as List).items ?? []) : [];
  const areValues = items.length > 0 && items.every(isValue);
  switch (kind) {
    case "AEXPR_OP":
      return isValue(rexpr)
        ? { node, column: left, operator: symbol, values: [rexpr], isArray: false }
        : undefined;
    case "AEXPR_IN":
      return symbol === "=" && areValues
        ? { node, column: left, operator: "=", values: items, isArray: false }
        : undefined;
    case "AEXPR_OP_ANY":
      return symbol === "=" && isValue(rexpr)
        ? { node, column: left, operator: "=", values: [rexpr], isArray: true }
        : undefined;
    case "AEXPR_BETWEEN":
      return areValues
        ? { node, column: left, operator: "between", values: items, isArray: false }
        : undefined;
    default:
      return undefined;
  }
}

/** A table's own column, possibly exposed by a join. */
export function ownColumnOf(statement: BoundStatement, node: Node): BoundColumn | undefined {
  const [type, body] = nodeOf(node);
  const named = type === "ColumnRef" ? columnMeant(statement, body) : undefined;
  const column = named && ownColumn(named);
  return column?.source.kind === "own" ? column : undefined;
}
