import type { A_Expr, CaseExpr, Node, SubLink } from "libpg-query";
import { stringOf } from "../parse/grammar.ts";
import type { Operator } from "./bound.ts";

/* Operators by name, as parse analysis looks them up, including those that the text does not write. */

const EQUALS: readonly Operator[] = [{ symbol: "=", schema: undefined }];

/** The operators that BETWEEN stands for (transformAExprBetween of parser/parse_expr.c); its node has another name. */
const BETWEEN = [">=", "<="].map(plain);
const NOT_BETWEEN = ["<", ">"].map(plain);
const SPELLED_OUT: Readonly<Record<string, readonly Operator[]>> = {
  AEXPR_BETWEEN: BETWEEN,
  AEXPR_BETWEEN_SYM: BETWEEN,
  AEXPR_NOT_BETWEEN: NOT_BETWEEN,
  AEXPR_NOT_BETWEEN_SYM: NOT_BETWEEN,
};

function plain(symbol: string): Operator {
  return { symbol, schema: undefined };
}

export function operatorsOfExpression({ kind, name }: A_Expr): readonly Operator[] {
  return SPELLED_OUT[kind ?? ""] ?? operatorNamed(name);
}

/** `CASE a WHEN b` compares with an `=` that it does not write. */
export function operatorsOfCase({ arg }: CaseExpr): readonly Operator[] {
  return arg === undefined ? [] : EQUALS;
}

/** IN and a row comparison have no operator name: they use `=`. */
export function operatorsOfSubquery({ testexpr, operName }: SubLink): readonly Operator[] {
  return testexpr !== undefined && operName === undefined ? EQUALS : operatorNamed(operName);
}

/** USING and NATURAL compare columns. */
export function operatorsOfJoin(comparesColumns: boolean): readonly Operator[] {
  return comparesColumns ? EQUALS : [];
}

/** `<`, `OPERATOR(pg_catalog.<)`; empty if there is no name. */
export function operatorNamed(name: readonly Node[] | undefined): readonly Operator[] {
  const [symbol, schema, ...more] = (name ?? []).map(stringOf).toReversed();
  if (symbol === undefined) return [];
  return [{ symbol, schema: more.length === 0 ? schema : undefined }];
}
