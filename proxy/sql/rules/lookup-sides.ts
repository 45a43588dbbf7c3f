import type { A_Const, A_Expr, FuncCall, Node, TypeCast, TypeName } from "libpg-query";
import type { BoundColumn, BoundStatement } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { ownColumnOf } from "./simple-comparisons.ts";

/* The two sides of a comparison that tests exact values: a column, possibly folded or cast, and given values. */

/** An operation on the column before it is compared: one of Postgres's own functions, or a cast to one of its types. */
export type Fold = { readonly call: string } | { readonly cast: string };

export interface ColumnSide {
  readonly node: Node;
  readonly column: BoundColumn;
  /** In the order of application. */
  readonly folds: readonly Fold[];
  /** The calls among them. */
  readonly calls: readonly FuncCall[];
}

/** A column, plain, as text, in lower case or in upper case. */
export function columnSide(statement: BoundStatement, node: Node): ColumnSide | undefined {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ColumnRef": {
      const column = ownColumnOf(statement, node);
      return column && { node, column, folds: [], calls: [] };
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      const inner = arg && columnSide(statement, arg);
      const cast = textType(typeName);
      return inner && cast !== undefined ? { ...inner, node, folds: [...inner.folds, { cast }] } : undefined;
    }
    case "FuncCall": {
      const call = body as FuncCall;
      const name = plainCall(call) ?? "";
      const [argument, ...more] = call.args ?? [];
      const inner = FOLDING.has(name) && argument !== undefined && columnSide(statement, argument);
      if (!inner || more.length > 0) return undefined;
      return { ...inner, node, folds: [...inner.folds, { call: name }], calls: [...inner.calls, call] };
    }
    default:
      return undefined;
  }
}

const FOLDING = new Set(["lower", "upper"]);

/** Immutable functions on texts that people use to build the text that they search for. */
const MAKING = new Set([
  ...FOLDING,
  "btrim",
  "ltrim",
  "rtrim",
  "normalize",
  "replace",
  "regexp_replace",
  "translate",
]);

/**
 * A constant, a parameter, or the result of a plain function of these: the same value for every row. Excludes values
 * that may differ between rows, or that are made from columns.
 */
export function isMadeOfGiven(node: Node): boolean {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ParamRef":
      return true;
    case "A_Const":
      return (body as A_Const).isnull !== true;
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      const isOneValue = isPlainName(typeName) && !isArrayType(typeName);
      return arg !== undefined && isOneValue && isMadeOfGiven(arg);
    }
    case "FuncCall": {
      const call = body as FuncCall;
      return MAKING.has(plainCall(call) ?? "") && areGiven(call.args);
    }
    case "A_Expr": {
      const { kind, name, lexpr, rexpr } = body as A_Expr;
      const isJoined = kind === "AEXPR_OP" && (name ?? []).map(stringOf).join() === "||";
      return isJoined && [lexpr, rexpr].every((side) => side !== undefined && isMadeOfGiven(side));
    }
    default:
      return false;
  }
}

/** Whether all of them are given, and there is at least one. */
export function areGiven(nodes: readonly Node[] = []): boolean {
  return nodes.length > 0 && nodes.every(isMadeOfGiven);
}

/** The name of one of Postgres's own functions, called without aggregate or window syntax. */
export function plainCall(call: FuncCall): string | undefined {
  const { funcname, agg_order, agg_filter, over, agg_star, agg_distinct, func_variadic, location } = call;
  const isPlain =
    location !== undefined &&
    [agg_order, agg_filter, over].every((clause) => clause === undefined) &&
    ![agg_star, agg_distinct, func_variadic].includes(true);
  const names = (funcname ?? []).map(stringOf);
  return isPlain && (names.length === 1 || names[0] === "pg_catalog") ? names.at(-1) : undefined;
}

/** `pg_catalog.varchar`, and no user-defined type. */
function isPlainName(typeName: TypeName | undefined): boolean {
  const names = (typeName?.names ?? []).map(stringOf);
  return names.length === 1 || names[0] === "pg_catalog";
}

/** `text[]`, or by its own name `_text`. */
function isArrayType(typeName: TypeName | undefined): boolean {
  const name = (typeName?.names ?? []).map(stringOf).at(-1);
  return (typeName?.arrayBounds?.length ?? 0) > 0 || name?.startsWith("_") === true;
}

const TEXT_TYPES: Readonly<Record<string, string>> = {
  text: "pg_catalog.text",
  varchar: "pg_catalog.varchar",
};

/** A type in which a value's text is exactly the value. */
export function textType(typeName: TypeName | undefined): string | undefined {
  const { names = [], typmods = [], arrayBounds = [] } = typeName ?? {};
  if (typmods.length > 0 || arrayBounds.length > 0 || !isPlainName(typeName)) return undefined;
  return TEXT_TYPES[names.map(stringOf).at(-1) ?? ""];
}
