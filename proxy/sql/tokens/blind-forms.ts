import type { A_Const, A_Expr, FuncCall, Node, TypeCast } from "libpg-query";
import type { SearchKind } from "../../tokens/blind-index.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { isBuiltinName, lastName, nodeOf, stringOf } from "../parse/grammar.ts";
import { plainCall } from "../rules/lookup-sides.ts";
import type { ValueColumn } from "./documents.ts";
import type { TokenColumns } from "./token-columns.ts";
import { isPlainCast, type Traces } from "./token-traces.ts";

/*
 * Searches by a part of a value, as applications write them, on columns whose tokens carry blind indexes: the column in
 * lower case or its last four characters, compared with given values, and patterns.
 */

/** What a given value is compared as. */
export type Reading =
  /** The value itself. */
  | "token"
  /** With the column in lower case: as it is, or in lower case as well. */
  | "lower case"
  | "any case"
  /** With the last four characters of the column: as it is, or its own last four. */
  | "four"
  | "last four"
  /** As a pattern, or as a text whose words are looked for. */
  | PatternReading;

export type PatternReading = "like" | "ilike" | "tsquery";

/** What a pattern may turn out to search by. */
export const PATTERN_KINDS: Readonly<Record<PatternReading, readonly SearchKind[]>> = {
  like: ["last4"],
  ilike: ["case", "last4", "words"],
  tsquery: ["words"],
};

/** The kind of a reading that is no pattern. */
export const COMPARED_KINDS: Readonly<Record<Exclude<Reading, PatternReading | "token">, SearchKind>> = {
  "lower case": "case",
  "any case": "case",
  four: "last4",
  "last four": "last4",
};

/** `lower(column)` or `right(column, 4)`, which the server finds in a part of the token. */
export interface ComputedSide {
  readonly kind: "case" | "last4";
  readonly token: ValueColumn;
  readonly call: Node;
  /** The column, with the casts around it. */
  readonly column: Node;
}

/** `column ILIKE given` and its like. */
export interface PatternCondition {
  readonly reading: PatternReading;
  readonly token: ValueColumn;
  readonly column: Node;
  readonly given: Node;
  readonly isNegated: boolean;
}

export interface TokenView {
  readonly statement: BoundStatement;
  readonly traces: Traces;
  readonly columns: TokenColumns;
}

/** Whether tokens of some key carry it, by the policy. */
export function offers({ carried = [] }: ValueColumn, kind: SearchKind): boolean {
  return carried.some(({ kinds }) => kinds.has(kind));
}

/** A column of the statement's relations, with casts that leave its values as they are. */
function columnIn({ statement, traces }: TokenView, node: Node): ValueColumn | undefined {
  const token = traces.ofNode(node);
  if (typeof token !== "object" || token.form === "document") return undefined;
  const [type, body] = nodeOf(withoutCasts(node));
  const meaning = type === "ColumnRef" ? statement.meanings.get(body) : undefined;
  return meaning?.kind === "column" ? token : undefined;
}

export function withoutCasts(node: Node): Node {
  const [type, body] = nodeOf(node);
  const { arg } = body as TypeCast;
  return type === "TypeCast" && arg !== undefined ? withoutCasts(arg) : node;
}

const FOLDS: Readonly<Record<string, ComputedSide["kind"]>> = { lower: "case", right: "last4" };

export function computedSide(view: TokenView, node: Node): ComputedSide | undefined {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") {
    const { arg, typeName } = body as TypeCast;
    return arg !== undefined && isPlainCast(typeName, undefined) ? computedSide(view, arg) : undefined;
  }
  const [column] = type === "FuncCall" ? ((body as FuncCall).args ?? []) : [];
  // Checked first: looking at the number of right() ties a verdict to this text.
  const token = column && columnIn(view, column);
  const kind = token && foldOf(view, node);
  return kind === undefined || column === undefined || token === undefined || !offers(token, kind)
    ? undefined
    : { kind, token, call: node, column };
}

/** `lower(x)` or `right(x, 4)`, by Postgres's own function. */
export function foldOf(
  { columns }: Pick<TokenView, "columns">,
  node: Node,
): ComputedSide["kind"] | undefined {
  const [type, body] = nodeOf(node);
  const name = type === "FuncCall" ? (plainCall(body as FuncCall) ?? "") : "";
  const kind = Object.hasOwn(FOLDS, name) ? FOLDS[name] : undefined;
  const [, ...more] = (body as FuncCall).args ?? [];
  const isWhole = kind === "last4" ? more.length === 1 && isFour(more[0]) : more.length === 0;
  return isWhole && !columns.hasNamesake(name) ? kind : undefined;
}

function isFour(node: Node | undefined): boolean {
  const [type, body] = node === undefined ? [] : nodeOf(node);
  return type === "A_Const" && (body as A_Const).ival?.ival === 4;
}

const PATTERN_OPERATORS: Readonly<Record<string, readonly [PatternReading, isNegated: boolean]>> = {
  "~~": ["like", false],
  "!~~": ["like", true],
  "~~*": ["ilike", false],
  "!~~*": ["ilike", true],
};
const PATTERN_SYNTAX: ReadonlySet<string> = new Set(["AEXPR_OP", "AEXPR_LIKE", "AEXPR_ILIKE"]);

export function patternCondition(view: TokenView, body: A_Expr): PatternCondition | undefined {
  const { kind = "", name = [], lexpr, rexpr } = body;
  const symbol = lastName(name);
  if (!PATTERN_SYNTAX.has(kind) || lexpr === undefined || rexpr === undefined) return undefined;
  if (!isBuiltinName(name)) return undefined;
  if (symbol === "@@") return wordCondition(view, lexpr, rexpr);
  const found = Object.hasOwn(PATTERN_OPERATORS, symbol) ? PATTERN_OPERATORS[symbol] : undefined;
  const token = found && columnIn(view, lexpr);
  if (found === undefined || token === undefined) return undefined;
  const [reading, isNegated] = found;
  const given = patternIn(rexpr);
  return given !== undefined && PATTERN_KINDS[reading].some((each) => offers(token, each))
    ? { reading, token, column: lexpr, given, isNegated }
    : undefined;
}

/** The pattern of `LIKE pattern ESCAPE '\'`, which is what it means without ESCAPE. */
function patternIn(node: Node): Node | undefined {
  const [type, body] = nodeOf(node);
  const { funcname = [], args = [] } = body as FuncCall;
  if (type !== "FuncCall" || funcname.map(stringOf).join(".") !== "pg_catalog.like_escape") return node;
  const [pattern, character] = args;
  const [escapeType, constant] = character === undefined ? [] : nodeOf(character);
  return escapeType === "A_Const" && (constant as A_Const).sval?.sval === "\\" ? pattern : undefined;
}

/** `to_tsvector('simple', column) @@ plainto_tsquery('simple', given)` */
function wordCondition(view: TokenView, left: Node, right: Node): PatternCondition | undefined {
  const [, argument] = nodeOf(left)[0] === "FuncCall" ? ((nodeOf(left)[1] as FuncCall).args ?? []) : [];
  const token = argument && columnIn(view, argument);
  if (token === undefined || !offers(token, "words")) return undefined;
  const column = simpleArgument(view, left, "to_tsvector");
  const given = simpleArgument(view, right, "plainto_tsquery");
  return column !== undefined && given !== undefined
    ? { reading: "tsquery", token, column, given, isNegated: false }
    : undefined;
}

/** What Postgres's own function is called with besides the configuration without stemming. */
function simpleArgument({ columns }: TokenView, node: Node, name: string): Node | undefined {
  const [type, body] = nodeOf(node);
  if (type !== "FuncCall" || plainCall(body as FuncCall) !== name || columns.hasNamesake(name))
    return undefined;
  const [configuration, argument, ...more] = (body as FuncCall).args ?? [];
  if (configuration === undefined || more.length > 0) return undefined;
  const [constantType, constant] = nodeOf(withoutCasts(configuration));
  const isSimple = constantType === "A_Const" && SIMPLE.has((constant as A_Const).sval?.sval ?? "");
  return isSimple ? argument : undefined;
}

const SIMPLE: ReadonlySet<string> = new Set(["simple", "pg_catalog.simple"]);
