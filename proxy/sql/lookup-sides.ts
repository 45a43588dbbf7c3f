import type { A_Const, A_Expr, ColumnRef, FuncCall, Node, TypeCast, TypeName } from "libpg-query";
import { nodeOf, stringOf } from "./grammar.ts";
import { closingParenthesis, word } from "./places.ts";
import type { Source } from "./source.ts";

/* The two sides of a comparison that tries exact values: a column, folded or cast, and what is given. */

/** Some bytes of the client's text. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A constant, a parameter, or what a plain function makes of them: the same value for every row. */
export interface Given extends Span {
  readonly node: Node;
}

export interface ColumnSide extends Span {
  readonly column: ColumnRef;
  readonly isWrapped: boolean;
  readonly calls: readonly FuncCall[];
  readonly wrap: (name: string) => string;
}

/** A column, by itself or as text, in small letters or in capitals. */
export function columnSide(source: Source, node: Node): ColumnSide | undefined {
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
export function textType(typeName: TypeName | undefined): string | undefined {
  const { names = [], typmods = [], arrayBounds = [] } = typeName ?? {};
  if (typmods.length > 0 || arrayBounds.length > 0 || !isPlainName(typeName)) return undefined;
  return TEXT_TYPES[names.map(stringOf).at(-1) ?? ""];
}

/** `x::t`, with what may follow a type's name, and `CAST(x AS t)`. */
export function castSpan(source: Source, { location = 0 }: TypeCast, inner: Span): Span | undefined {
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

/** All of several, of which there is one at the least. */
export function allGiven(source: Source, nodes: readonly Node[] = []): readonly Given[] | undefined {
  const given = nodes.map((each) => givenOf(source, each));
  const known = given.filter((each) => each !== undefined);
  return known.length < given.length || known.length === 0 ? undefined : known;
}
