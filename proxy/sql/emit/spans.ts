import type { A_Expr, FuncCall, Node, TypeCast } from "libpg-query";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { Source } from "../parse/source.ts";
import { closingParenthesis, word } from "./source-tokens.ts";

/*
 * Finds where the text of a value or a comparison begins and ends. The tree gives a node's location; the tokens there
 * give the length of the grammar's construct (parser/gram.y).
 */

/** A range of bytes of the client's text. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * For a column, a constant, a parameter, a cast, a call, a written-out array, and an operator applied to these;
 * undefined for others.
 */
export function spanOf(source: Source, node: Node): Span | undefined {
  const tokens = tokensOf(source, node);
  const [start, end] = [
    tokens && source.token(tokens.first)?.start,
    tokens && source.token(tokens.last)?.end,
  ];
  return start === undefined || end === undefined ? undefined : { start, end };
}

/** Indexes of the first and the last token. */
interface Tokens {
  readonly first: number;
  readonly last: number;
}

function tokensOf(source: Source, node: Node): Tokens | undefined {
  const [type, body] = nodeOf(node);
  const { location = -1 } = body as { location?: number };
  if (type === "TypeCast") return ofCast(source, body as TypeCast, location);
  if (type === "A_Expr") return ofOperator(source, body as A_Expr);
  if (location < 0) return undefined;
  const first = source.tokenAt(location);
  switch (type) {
    case "ColumnRef":
      return { first, last: source.nameEnd(first) };
    case "ParamRef":
      return { first, last: first };
    case "A_Const":
      return { first, last: source.partEnd(word(source, first) === "-" ? first + 1 : first) };
    case "FuncCall":
      return ofCall(source, body as FuncCall, first);
    case "A_ArrayExpr":
      return word(source, first) === "array"
        ? { first, last: closingParenthesis(source, first + 1, "[") }
        : undefined;
    default:
      return undefined;
  }
}

/** `f(x)`; also `LIKE pattern ESCAPE character`, whose right side is a call located at LIKE. */
function ofCall(source: Source, { funcname = [], args = [] }: FuncCall, first: number): Tokens | undefined {
  const isEscape = funcname.map(stringOf).at(-1) === "like_escape" && MATCHING.has(word(source, first) ?? "");
  if (!isEscape) return { first, last: closingParenthesis(source, source.nameEnd(first) + 1) };
  const character = args[1] && tokensOf(source, args[1]);
  return character && { first, last: character.last };
}

const MATCHING: ReadonlySet<string> = new Set(["like", "ilike"]);

/** `x::t`, `CAST(x AS t)`, and `t 'x'`, which has no location of its own. */
function ofCast(source: Source, { arg, typeName }: TypeCast, location: number): Tokens | undefined {
  const inner = arg && tokensOf(source, arg);
  if (inner === undefined) return undefined;
  if (location < 0) {
    const { location: at = -1 } = typeName ?? {};
    const last = skipFields(source, inner.last);
    return at < 0 ? undefined : { first: source.tokenAt(at), last };
  }
  const at = source.tokenAt(location);
  if (word(source, at) === "cast") return { first: at, last: closingParenthesis(source, at + 1) };
  if (word(source, at) !== "::" || at < inner.last) return undefined;
  return closed(source, { first: inner.first, last: typeEnd(source, at + 1) });
}

/** A comparison or a value: its two sides, and the parentheses or brackets around the right one. */
function ofOperator(source: Source, { kind, lexpr, rexpr, rexpr_list_end }: A_Expr): Tokens | undefined {
  const left = lexpr && tokensOf(source, lexpr);
  if (left === undefined || rexpr === undefined) return undefined;
  if (kind === "AEXPR_IN")
    return rexpr_list_end === undefined
      ? undefined
      : closed(source, { first: left.first, last: source.tokenAt(rexpr_list_end) });
  const right = tokensOf(source, rexpr);
  return right && closed(source, { first: left.first, last: right.last });
}

/**
 * Extends the range to parentheses that are only half inside: `(a)::text` begins before a, `= ANY ($1)` ends after $1.
 */
function closed(source: Source, { first, last }: Tokens): Tokens | undefined {
  let [open, missing] = [0, 0];
  for (let index = first; index <= last; index++) {
    const text = word(source, index);
    if (text === "(" || text === "[") open++;
    if (text !== ")" && text !== "]") continue;
    if (open > 0) open--;
    else missing++;
  }
  for (let index = 1; index <= missing; index++) if (word(source, first - index) !== "(") return undefined;
  for (let index = 1; index <= open; index++) if (word(source, last + index) !== ")") return undefined;
  return { first: first - missing, last: last + open };
}

/** Index of the last token of the type's name that begins at `index` (Typename of parser/gram.y). */
function typeEnd(source: Source, index: number): number {
  let last = index;
  const next = (...words: readonly string[]): boolean => words.includes(word(source, last + 1) ?? "");
  if (word(source, last) === "national") last++;
  if (SEVERAL_WORDS.has(word(source, last) ?? "") && next("varying", "precision")) last++;
  else last = source.nameEnd(last);
  if (next("(")) last = closingParenthesis(source, last + 1);
  if (word(source, index)?.startsWith("time") === true && next("with", "without")) last += 3;
  if (word(source, index) === "interval") last = skipFields(source, last);
  if (next("array")) last++;
  while (next("[")) last = closingParenthesis(source, last + 1, "[");
  return last;
}

const SEVERAL_WORDS: ReadonlySet<string> = new Set(["character", "char", "nchar", "bit", "double"]);

const FIELDS: ReadonlySet<string> = new Set([...["year", "month", "day", "hour", "minute", "second"], "to"]);

/** `INTERVAL '1' DAY TO SECOND (3)` */
function skipFields(source: Source, index: number): number {
  let last = index;
  while (FIELDS.has(word(source, last + 1) ?? "")) last++;
  return last > index && word(source, last) === "second" && word(source, last + 1) === "("
    ? closingParenthesis(source, last + 1)
    : last;
}
