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
  TypeName,
} from "libpg-query";
import { arrayElements } from "../pg/array-text.ts";
import { type Body, nodeOf, stringOf } from "./grammar.ts";
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

/** Some bytes of the client's text. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A constant, a parameter, or what a plain function makes of them: the same value for every row. */
export interface Given extends Span {
  readonly node: Node;
}

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

function allGiven(source: Source, nodes: readonly Node[] = []): readonly Given[] | undefined {
  const given = nodes.map((each) => givenOf(source, each));
  const known = given.filter((each) => each !== undefined);
  return known.length < given.length || known.length === 0 ? undefined : known;
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

interface ColumnSide extends Span {
  readonly column: ColumnRef;
  readonly isWrapped: boolean;
  readonly calls: readonly FuncCall[];
  readonly wrap: (name: string) => string;
}

/** A column, by itself or as text, in small letters or in capitals. */
function columnSide(source: Source, node: Node): ColumnSide | undefined {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ColumnRef": {
      const column = body as ColumnRef;
      if (column.fields?.some((field) => nodeOf(field)[0] !== "String")) return undefined;
      const first = source.tokenAt(column.location ?? 0);
      const [start, end] = [source.token(first)?.start, source.token(source.nameEnd(first))?.end];
      if (start === undefined || end === undefined) return undefined;
      return { column, start, end, isWrapped: false, calls: [], wrap: (name) => name };
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      const inner = arg && columnSide(source, arg);
      const text = textType(typeName);
      const span = inner && castSpan(source, body as TypeCast, inner);
      if (inner === undefined || text === undefined || span === undefined) return undefined;
      return { ...inner, ...span, isWrapped: true, wrap: (name) => `CAST(${inner.wrap(name)} AS ${text})` };
    }
    case "FuncCall": {
      const call = body as FuncCall;
      const name = FOLDING.has(plainCall(call) ?? "") ? plainCall(call) : undefined;
      const [argument, ...more] = call.args ?? [];
      const inner = name !== undefined && argument !== undefined && columnSide(source, argument);
      if (!inner || more.length > 0) return undefined;
      const wrap = (column: string) => `pg_catalog.${name}(${inner.wrap(column)})`;
      const calls = [...inner.calls, call];
      return { ...inner, ...callSpan(source, call), isWrapped: true, calls, wrap };
    }
    default:
      return undefined;
  }
}

const FOLDING = new Set(["lower", "upper"]);

/** Functions of texts that are immutable, and that people use to make the text they look for. */
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

/** Undefined for what may be another value in the next row, or is made of columns. */
export function givenOf(source: Source, node: Node): Given | undefined {
  const [type, body] = nodeOf(node);
  const { location } = body as { location?: number };
  switch (type) {
    case "ParamRef":
    case "A_Const": {
      if (location === undefined || (type === "A_Const" && (body as A_Const).isnull)) return undefined;
      const first = source.tokenAt(location);
      const last = source.partEnd(source.token(first)?.text === "-" ? first + 1 : first);
      const end = source.token(last)?.end;
      return end === undefined ? undefined : { node, start: location, end };
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      const inner = arg && givenOf(source, arg);
      const span = inner && isPlainName(typeName) ? castSpan(source, body as TypeCast, inner) : undefined;
      return span && { node, ...span };
    }
    case "FuncCall": {
      const call = body as FuncCall;
      if (!MAKING.has(plainCall(call) ?? "") || allGiven(source, call.args) === undefined) return undefined;
      return { node, ...callSpan(source, call) };
    }
    case "A_Expr": {
      const { kind, name, lexpr, rexpr } = body as A_Expr;
      if (kind !== "AEXPR_OP" || (name ?? []).map(stringOf).join() !== "||") return undefined;
      const [left, right] = [lexpr && givenOf(source, lexpr), rexpr && givenOf(source, rexpr)];
      return left && right && { node, start: left.start, end: right.end };
    }
    default:
      return undefined;
  }
}

/** The name of one of Postgres's own functions, called without any of what aggregates and windows take. */
function plainCall(call: FuncCall): string | undefined {
  const { funcname, agg_order, agg_filter, over, agg_star, agg_distinct, func_variadic, location } = call;
  const isPlain =
    location !== undefined &&
    [agg_order, agg_filter, over].every((clause) => clause === undefined) &&
    ![agg_star, agg_distinct, func_variadic].includes(true);
  const names = (funcname ?? []).map(stringOf);
  return isPlain && (names.length === 1 || names[0] === "pg_catalog") ? names.at(-1) : undefined;
}

function callSpan(source: Source, { location = 0 }: FuncCall): Span {
  const open = source.nameEnd(source.tokenAt(location)) + 1;
  return { start: location, end: source.token(closingParenthesis(source, open))?.end ?? location };
}

/** `pg_catalog.varchar`, and no type of a user's that bears its schema. */
function isPlainName(typeName: TypeName | undefined): boolean {
  const names = (typeName?.names ?? []).map(stringOf);
  return names.length === 1 || names[0] === "pg_catalog";
}

const TEXT_TYPES: Readonly<Record<string, string>> = {
  text: "pg_catalog.text",
  varchar: "pg_catalog.varchar",
};

/** A type as which a value is its own text, whole. */
function textType(typeName: TypeName | undefined): string | undefined {
  const { names = [], typmods = [], arrayBounds = [] } = typeName ?? {};
  if (typmods.length > 0 || arrayBounds.length > 0 || !isPlainName(typeName)) return undefined;
  return TEXT_TYPES[names.map(stringOf).at(-1) ?? ""];
}

/** `x::t`, with what may follow a type's name, and `CAST(x AS t)`. */
function castSpan(source: Source, { location = 0 }: TypeCast, inner: Span): Span | undefined {
  const first = source.tokenAt(location);
  if (word(source, first) === "cast") {
    const close = source.token(closingParenthesis(source, first + 1))?.end;
    return close === undefined ? undefined : { start: location, end: close };
  }
  if (word(source, first) !== "::" || location < inner.end) return undefined;
  let last = source.nameEnd(first + 1);
  if (word(source, last + 1) === "(") last = closingParenthesis(source, last + 1);
  while (word(source, last + 1) === "[") last = closingParenthesis(source, last + 1, "[");
  const end = source.token(last)?.end;
  return end === undefined ? undefined : { start: inner.start, end };
}
