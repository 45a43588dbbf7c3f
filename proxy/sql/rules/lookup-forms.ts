import type {
  A_ArrayExpr,
  A_Const,
  A_Expr,
  BoolExpr,
  FuncCall,
  List,
  Node,
  ParamRef,
  TypeCast,
} from "libpg-query";
import { arrayElements } from "../../pg/array-text.ts";
import type { BoundColumn, BoundStatement } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { BoundAsk } from "../verdict.ts";
import { areGiven, type ColumnSide, columnSide, type Fold, isMadeOfGiven, textType } from "./lookup-sides.ts";
import { MIRRORED } from "./simple-comparisons.ts";

/*
 * Conditions that test exact values of a column, as `=` does, in the forms that people and ORMs write: case folded,
 * with an array, cast to text, with ILIKE without wildcards, and AND and OR of these. This file reads their parts;
 * lookups.ts decides which column may be searched.
 */

/** More values than this in one IN suggest a list from elsewhere, not a customer on the phone. */
export const MAXIMUM_VALUES = 20;

/** One comparison of one column. */
export interface Comparison {
  readonly kind: "comparison";
  readonly body: A_Expr;
  readonly column: BoundColumn;
  /** How the column is folded or cast to text before it is compared. */
  readonly folds: readonly Fold[];
  /** Calls that fold it, and the call that ESCAPE becomes. */
  readonly calls: readonly FuncCall[];
  /**
   * As strong as `=`: the number of values that the text tests, and the values still to be determined at Bind.
   * Undefined: not exact.
   */
  readonly exact: { readonly tries: number; readonly asks: readonly BoundAsk[] } | undefined;
  /** All values that the column is compared with, of which any may match; for an array, only the array. */
  readonly givens: readonly Node[];
  readonly isArray: boolean;
  /** With the column on its left; one of Postgres's own operators that cannot fail on a row. */
  readonly symbol: string;
}

export type Test = Comparison | { readonly kind: "and" | "or"; readonly args: readonly Test[] };

/** Undefined if any part of it has another form. */
export function testOf(statement: BoundStatement, node: Node): Test | undefined {
  const [type, body] = nodeOf(node);
  if (type === "A_Expr") return comparisonOf(statement, body as A_Expr);
  if (type !== "BoolExpr") return undefined;
  const { boolop, args = [] } = body as BoolExpr;
  if (boolop === "NOT_EXPR") return undefined;
  const tests = args.map((each) => testOf(statement, each));
  const known = tests.filter((test) => test !== undefined);
  return known.length < tests.length
    ? undefined
    : { kind: boolop === "AND_EXPR" ? "and" : "or", args: known };
}

export function comparisonsOf(test: Test): readonly Comparison[] {
  return test.kind === "comparison" ? [test] : test.args.flatMap(comparisonsOf);
}

/** LIKE and ILIKE as operators. */
const MATCHES = new Set(["~~", "~~*"]);

function comparisonOf(statement: BoundStatement, body: A_Expr): Comparison | undefined {
  const { kind, name, lexpr, rexpr } = body;
  if (lexpr === undefined || rexpr === undefined || name?.length !== 1 || name[0] === undefined)
    return undefined;
  const symbol = stringOf(name[0]);
  switch (kind) {
    case "AEXPR_OP":
      return Object.hasOwn(MIRRORED, symbol) ? oneValue(statement, body, symbol) : undefined;
    case "AEXPR_LIKE":
    case "AEXPR_ILIKE":
      return MATCHES.has(symbol) ? pattern(statement, body, symbol) : undefined;
    case "AEXPR_IN":
      return symbol === "=" ? list(statement, body) : undefined;
    case "AEXPR_OP_ANY":
      return symbol === "=" ? anyOf(statement, body) : undefined;
    default:
      return undefined;
  }
}

function oneValue(statement: BoundStatement, body: A_Expr, symbol: string): Comparison | undefined {
  const { lexpr, rexpr } = body;
  if (lexpr === undefined || rexpr === undefined) return undefined;
  const left = columnSide(statement, lexpr);
  if (left !== undefined) return isMadeOfGiven(rexpr) ? comparison(body, left, [rexpr], symbol) : undefined;
  const [right, mirrored] = [columnSide(statement, rexpr), MIRRORED[symbol]];
  return right !== undefined && mirrored !== undefined && isMadeOfGiven(lexpr)
    ? comparison(body, right, [lexpr], mirrored)
    : undefined;
}

function pattern(statement: BoundStatement, body: A_Expr, symbol: string): Comparison | undefined {
  const { lexpr, rexpr } = body;
  const left = lexpr && columnSide(statement, lexpr);
  const call = rexpr && escapeCall(rexpr);
  const given = call === undefined ? rexpr : call.args?.[0];
  if (left === undefined || given === undefined || !isMadeOfGiven(given)) return undefined;
  const calls = [...left.calls, ...(call === undefined ? [] : [call])];
  return { ...comparison(body, { ...left, calls }, [given], symbol), exact: exactPattern(given) };
}

/** `pattern ESCAPE '\'`, which equals the pattern itself: the grammar turns it into a call. */
function escapeCall(node: Node): FuncCall | undefined {
  const [type, body] = nodeOf(node);
  if (type !== "FuncCall") return undefined;
  const call = body as FuncCall;
  const [, character] = call.args ?? [];
  const isEscape = (call.funcname ?? []).map(stringOf).join(".") === "pg_catalog.like_escape";
  if (!isEscape || character === undefined) return undefined;
  const [kind, constant] = nodeOf(character);
  return kind === "A_Const" && (constant as A_Const).sval?.sval === "\\" ? call : undefined;
}

/** A pattern without wildcards matches one text. A parameter's value is checked at Bind. */
function exactPattern(node: Node): Comparison["exact"] {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ParamRef":
      return { tries: 1, asks: [{ parameter: (body as ParamRef).number ?? 0, as: "pattern" }] };
    case "A_Const": {
      const text = (body as A_Const).sval?.sval;
      return text === undefined || hasWildcard(text) ? undefined : { tries: 1, asks: [] };
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      return arg === undefined || textType(typeName) === undefined ? undefined : exactPattern(arg);
    }
    default:
      return undefined;
  }
}

/** Whether a LIKE pattern matches more than one text, or fails: a backslash makes the next character literal. */
export function hasWildcard(pattern: string): boolean {
  return /^(?:[^\\%_]|\\.)*$/su.exec(pattern) === null;
}

function list(statement: BoundStatement, body: A_Expr): Comparison | undefined {
  const left = body.lexpr && columnSide(statement, body.lexpr);
  const [type, items] = body.rexpr === undefined ? [] : nodeOf(body.rexpr);
  const given = type === "List" ? ((items as List).items ?? []) : [];
  return left !== undefined && areGiven(given) ? comparison(body, left, given, "=") : undefined;
}

function anyOf(statement: BoundStatement, body: A_Expr): Comparison | undefined {
  const { lexpr, rexpr } = body;
  const left = lexpr && columnSide(statement, lexpr);
  const exact = rexpr && valuesOf(rexpr);
  if (left === undefined || rexpr === undefined || exact === undefined) return undefined;
  return { ...comparison(body, left, [rexpr], "="), isArray: true, exact };
}

/** For an array as a constant, as a parameter, or written out. */
function valuesOf(node: Node): Comparison["exact"] {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ParamRef":
      return { tries: 0, asks: [{ parameter: (body as ParamRef).number ?? 0, as: "array" }] };
    case "A_Const": {
      const text = (body as A_Const).sval?.sval;
      return text === undefined ? undefined : { tries: arrayElements(text), asks: [] };
    }
    case "A_ArrayExpr": {
      const { elements = [] } = body as A_ArrayExpr;
      return areGiven(elements) ? triedBy(elements) : undefined;
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      return arg !== undefined && (typeName?.arrayBounds?.length ?? 0) > 0 ? valuesOf(arg) : undefined;
    }
    default:
      return undefined;
  }
}

/**
 * Arrays inside an array form one array of more dimensions, and ANY tests all elements. So for a bare parameter in the
 * list, Bind determines how many values it is. An element that may be an array made of several is none of these forms.
 */
function triedBy(elements: readonly Node[]): Comparison["exact"] {
  const asks: BoundAsk[] = [];
  for (const element of elements) {
    const [type, body] = nodeOf(element);
    if (type === "A_Expr") return undefined;
    if (type === "ParamRef") asks.push({ parameter: (body as ParamRef).number ?? 0, as: "array" });
  }
  return { tries: elements.length - asks.length, asks };
}

function comparison(
  body: A_Expr,
  { column, folds, calls }: ColumnSide,
  givens: readonly Node[],
  symbol: string,
): Comparison {
  return {
    ...{ kind: "comparison", body, column, folds, calls, givens, symbol, isArray: false },
    exact: symbol === "=" ? { tries: givens.length, asks: [] } : undefined,
  };
}
