import type {
  A_ArrayExpr,
  A_Const,
  A_Expr,
  BoolExpr,
  ColumnRef,
  FuncCall,
  List,
  Node,
  ParamRef,
  TypeCast,
} from "libpg-query";
import { arrayElements } from "../pg/array-text.ts";
import { type Body, nodeOf, stringOf } from "./grammar.ts";
import {
  allGiven,
  type ColumnSide,
  castSpan,
  columnSide,
  type Given,
  givenOf,
  type Span,
  textType,
} from "./lookup-sides.ts";
import { closingParenthesis, word } from "./places.ts";
import type { Source } from "./source.ts";
import type { BoundAsk } from "./verdict.ts";

/*
 * Conditions that try exact values of a column, as `=` does, in the other ways in which people and object mappers write
 * them: case folded, by an array, cast to text, by ILIKE without wildcards, and AND and OR of these. What they are made
 * of is read here; which column may be asked is decided in lookups.ts.
 */

/** More values than these in one IN are a list that somebody brought along, not a customer on the phone. */
export const MAXIMUM_VALUES = 20;

/** One comparison of one column. */
export interface Comparison extends Span {
  readonly kind: "comparison";
  readonly body: Body;
  readonly column: ColumnRef;
  /** The column is folded or cast to text before it is compared. */
  readonly isWrapped: boolean;
  /** Calls that fold it. */
  readonly calls: readonly FuncCall[];
  /** As strong as `=`: how many values the text tries, and what a Bind decides yet. Undefined: not as exact. */
  readonly exact: { readonly tries: number; readonly asks: readonly BoundAsk[] } | undefined;
  /** All that is compared with the column. */
  readonly givens: readonly Given[];
  /** The operator is one of Postgres's own that cannot fail on a row. */
  readonly symbol: string;
  /** The comparison on the real column. `operator` is the symbol, qualified where that can be done. */
  readonly sql: (column: string, operator: string, textOf: (given: Given) => string) => string;
}

export type Test = Comparison | { readonly kind: "and" | "or"; readonly args: readonly Test[] };

/** Undefined where some part of it is of another form. */
export function testOf(source: Source, node: Node): Test | undefined {
  const [type, body] = nodeOf(node);
  if (type === "A_Expr") return comparisonOf(source, body as A_Expr);
  if (type !== "BoolExpr") return undefined;
  const { boolop, args = [] } = body as BoolExpr;
  if (boolop === "NOT_EXPR") return undefined;
  const tests = args.map((each) => testOf(source, each));
  const known = tests.filter((test) => test !== undefined);
  return known.length < tests.length
    ? undefined
    : { kind: boolop === "AND_EXPR" ? "and" : "or", args: known };
}

export function comparisonsOf(test: Test): readonly Comparison[] {
  return test.kind === "comparison" ? [test] : test.args.flatMap(comparisonsOf);
}

const COMPARISONS = new Set(["=", "<", "<=", ">", ">=", "<>"]);
/** LIKE and ILIKE as operators. */
const MATCHES = new Set(["~~", "~~*"]);

function comparisonOf(source: Source, body: A_Expr): Comparison | undefined {
  const { kind, name, lexpr, rexpr } = body;
  if (lexpr === undefined || rexpr === undefined || name?.length !== 1 || name[0] === undefined)
    return undefined;
  const symbol = stringOf(name[0]);
  switch (kind) {
    case "AEXPR_OP":
      return COMPARISONS.has(symbol) ? oneValue(source, body, symbol) : undefined;
    case "AEXPR_LIKE":
    case "AEXPR_ILIKE":
      return MATCHES.has(symbol) ? pattern(source, body, symbol) : undefined;
    case "AEXPR_IN":
      return symbol === "=" ? list(source, body) : undefined;
    case "AEXPR_OP_ANY":
      return symbol === "=" ? anyOf(source, body) : undefined;
    default:
      return undefined;
  }
}

function oneValue(source: Source, body: A_Expr, symbol: string): Comparison | undefined {
  const { lexpr = {}, rexpr = {} } = body;
  const left = columnSide(source, lexpr as Node);
  if (left !== undefined) {
    const given = givenOf(source, rexpr as Node);
    return given && comparison(body, left, [given], { start: left.start, end: given.end, symbol });
  }
  const right = symbol === "=" ? columnSide(source, rexpr as Node) : undefined;
  const given = right && givenOf(source, lexpr as Node);
  return right && given && comparison(body, right, [given], { start: given.start, end: right.end, symbol });
}

function pattern(source: Source, body: A_Expr, symbol: string): Comparison | undefined {
  const left = body.lexpr && columnSide(source, body.lexpr);
  const given = body.rexpr && givenOf(source, body.rexpr);
  if (left === undefined || given === undefined) return undefined;
  const made = comparison(body, left, [given], { start: left.start, end: given.end, symbol });
  return { ...made, exact: exactPattern(given.node) };
}

/** A pattern without wildcards matches one text. What a parameter holds is seen at Bind. */
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

/** Whether a pattern of LIKE matches more than one text, or fails: a backslash takes the wildcard from what follows it. */
export function hasWildcard(pattern: string): boolean {
  return /^(?:[^\\%_]|\\.)*$/su.exec(pattern) === null;
}

function list(source: Source, body: A_Expr): Comparison | undefined {
  const left = body.lexpr && columnSide(source, body.lexpr);
  const [type, items] = body.rexpr === undefined ? [] : nodeOf(body.rexpr);
  if (left === undefined || type !== "List" || body.rexpr_list_end === undefined) return undefined;
  const given = allGiven(source, (items as List).items);
  const end = body.rexpr_list_end + 1;
  return given && comparison(body, left, given, { start: left.start, end, symbol: "=" });
}

function anyOf(source: Source, body: A_Expr): Comparison | undefined {
  const left = body.lexpr && columnSide(source, body.lexpr);
  const array = body.rexpr && arrayOf(source, body.rexpr);
  if (left === undefined || array === undefined) return undefined;
  // `ANY (` stands before the array, and nothing between them.
  const open = source.tokenAt(array.start) - 1;
  if (word(source, open) !== "(") return undefined;
  const end = source.token(closingParenthesis(source, open))?.end ?? 0;
  const { tries, asks, ...given } = array;
  return {
    ...comparison(body, left, [given], { start: left.start, end, symbol: "=" }),
    exact: { tries, asks },
    sql: (name, operator, textOf) => `(${left.wrap(name)} ${operator} ANY (${textOf(given)}))`,
  };
}

interface GivenArray extends Given {
  readonly tries: number;
  readonly asks: readonly BoundAsk[];
}

/** An array as a constant, as a parameter, or written out. */
function arrayOf(source: Source, node: Node): GivenArray | undefined {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ParamRef": {
      const given = givenOf(source, node);
      return (
        given && { ...given, tries: 0, asks: [{ parameter: (body as ParamRef).number ?? 0, as: "array" }] }
      );
    }
    case "A_Const": {
      const given = givenOf(source, node);
      const text = (body as A_Const).sval?.sval;
      return given && text !== undefined ? { ...given, tries: arrayElements(text), asks: [] } : undefined;
    }
    case "A_ArrayExpr": {
      const { elements, location } = body as A_ArrayExpr;
      const given = allGiven(source, elements);
      const first = source.tokenAt(location ?? 0);
      if (given === undefined || word(source, first) !== "array" || word(source, first + 1) !== "[")
        return undefined;
      const end = source.token(closingParenthesis(source, first + 1, "["))?.end ?? 0;
      return { node, start: source.token(first)?.start ?? 0, end, tries: given.length, asks: [] };
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      const inner = arg && arrayOf(source, arg);
      const span = inner && castSpan(source, body as TypeCast, inner);
      return inner && span && (typeName?.arrayBounds?.length ?? 0) > 0
        ? { ...inner, ...span, node }
        : undefined;
    }
    default:
      return undefined;
  }
}

function comparison(
  body: A_Expr,
  { column, wrap, isWrapped, calls }: ColumnSide,
  givens: readonly Given[],
  { start, end, symbol }: Span & { readonly symbol: string },
): Comparison {
  return {
    ...{ kind: "comparison", body, column, givens, start, end, symbol, isWrapped, calls },
    exact: symbol === "=" ? { tries: givens.length, asks: [] } : undefined,
    sql: (name, operator, textOf) => {
      const tests = givens.map((given) => `${wrap(name)} ${operator} ${textOf(given)}`);
      return tests.length === 1 ? `(${tests[0]})` : `((${tests.join(") OR (")}))`;
    },
  };
}
