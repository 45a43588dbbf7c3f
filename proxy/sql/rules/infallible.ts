import type { A_ArrayExpr, A_Const, A_Expr, CaseExpr, CaseWhen, FuncCall, Node, TypeCast } from "libpg-query";
import { nodeOf, stringOf } from "../parse/grammar.ts";

/*
 * Expressions that cannot fail on any row. The planner chooses the order of conditions, so one that can fail may fail
 * on a row that the others reject, and its SQLSTATE reveals something about that row (Postgres docs, "Expression
 * Evaluation Rules"). certain.ts covers only plain comparisons; this file also covers what dashboards write about time,
 * text and categories.
 */

/** The kind of value that a column contains; undefined: of a type whose comparison may fail, or unknown. */
export type ValueKind = "time" | "integer" | "real" | "text" | "other" | undefined;

export type KindOfColumn = (column: Node) => ValueKind;

/** Whether the expression, used as a value or a condition, cannot fail on any row. */
export function cannotFailOnRows(node: Node, kindOf: KindOfColumn): boolean {
  const safe = (each: Node | undefined): boolean => each !== undefined && cannotFailOnRows(each, kindOf);
  const [type, body] = nodeOf(node);
  switch (type) {
    case "A_Const":
    case "ParamRef":
      return true;
    case "ColumnRef":
      return kindOf(node) !== undefined;
    case "BoolExpr":
    case "CoalesceExpr":
    case "MinMaxExpr":
      return ((body as { args?: Node[] }).args ?? []).every(safe);
    case "List":
      return ((body as { items?: Node[] }).items ?? []).every(safe);
    case "NullTest":
    case "BooleanTest":
      return safe((body as { arg?: Node }).arg);
    case "CaseExpr":
      return isSafeCase(body as CaseExpr, safe);
    case "A_Expr":
      return isTime(node, kindOf) || isSafeOperator(body as A_Expr, safe);
    case "TypeCast":
    case "SQLValueFunction":
      return isTime(node, kindOf) || (type === "TypeCast" && isSafeCast(body as TypeCast, kindOf));
    case "FuncCall":
      return isTime(node, kindOf) || isSafeCall(body as FuncCall, kindOf);
    default:
      return false;
  }
}

function isSafeCase({ arg, args, defresult }: CaseExpr, safe: (node: Node | undefined) => boolean): boolean {
  const whens = (args ?? []).map((each) => nodeOf(each)[1] as CaseWhen);
  return (
    (arg === undefined || safe(arg)) &&
    whens.every(({ expr, result }) => safe(expr) && safe(result)) &&
    (defresult === undefined || safe(defresult))
  );
}

const COMPARISONS = new Set(["=", "<>", "<", "<=", ">", ">="]);

function isSafeOperator(
  { kind, name, lexpr, rexpr }: A_Expr,
  safe: (node: Node | undefined) => boolean,
): boolean {
  const symbol = name?.length === 1 && name[0] !== undefined ? stringOf(name[0]) : "";
  switch (kind) {
    case "AEXPR_OP":
      return COMPARISONS.has(symbol) && safe(lexpr) && safe(rexpr);
    case "AEXPR_IN":
    case "AEXPR_DISTINCT":
    case "AEXPR_NOT_DISTINCT":
    case "AEXPR_NULLIF":
    case "AEXPR_BETWEEN":
    case "AEXPR_NOT_BETWEEN":
    case "AEXPR_BETWEEN_SYM":
    case "AEXPR_NOT_BETWEEN_SYM":
      return safe(lexpr) && safe(rexpr);
    case "AEXPR_OP_ANY":
    case "AEXPR_OP_ALL":
      return COMPARISONS.has(symbol) && safe(lexpr) && isConstantArray(rexpr);
    case "AEXPR_LIKE":
    case "AEXPR_ILIKE":
      return safe(lexpr) && isSafePattern(rexpr);
    default:
      return false;
  }
}

function isConstantArray(node: Node | undefined): boolean {
  if (node === undefined) return false;
  const [type, body] = nodeOf(node);
  if (type === "A_ArrayExpr")
    return ((body as A_ArrayExpr).elements ?? []).every((each) => nodeOf(each)[0] === "A_Const");
  return isConstant(type === "TypeCast" ? (body as TypeCast).arg : node);
}

function isConstant(node: Node | undefined): boolean {
  return node !== undefined && ["A_Const", "ParamRef"].includes(nodeOf(node)[0]);
}

/** A pattern that ends in a backslash fails if the text matches the part before it (22025). */
function isSafePattern(node: Node | undefined): boolean {
  const pattern = textOf(node);
  return pattern !== undefined && !pattern.includes("\\");
}

function textOf(node: Node | undefined): string | undefined {
  const [type, body] = node === undefined ? [] : nodeOf(node);
  return type === "A_Const" ? ((body as A_Const).sval?.sval ?? undefined) : undefined;
}

/** Casts of constants are computed once, whatever the rows are; casts to text cannot fail. */
function isSafeCast({ arg, typeName }: TypeCast, kindOf: KindOfColumn): boolean {
  if (arg === undefined) return false;
  if (isConstant(arg)) return true;
  if ((typeName?.typmods?.length ?? 0) > 0 || (typeName?.arrayBounds?.length ?? 0) > 0) return false;
  const target = builtinName(typeName?.names ?? []);
  if (target === "text") return cannotFailOnRows(arg, kindOf);
  const isWidening = target === "numeric" || target === "float8" || target === "int8";
  return isWidening && nodeOf(arg)[0] === "ColumnRef" && kindOf(arg) === "integer";
}

/** A built-in's name, with or without its schema. */
function builtinName(names: readonly Node[]): string | undefined {
  const [first = "", second] = names.map(stringOf);
  if (second === undefined) return first;
  return names.length === 2 && first === "pg_catalog" ? second : undefined;
}

const TEXT_FUNCTIONS = new Set(["lower", "upper", "btrim", "ltrim", "rtrim", "length", "char_length"]);

const FORMAT =
  /^(?:YYYY|IYYY|YY|MM|DDD|DD|HH24|HH12|HH|MI|SS|IW|WW|ID|Q|D|Month|Mon|Day|Dy|AM|PM|[-/ :._]|"[A-Za-z ]*")*$/;

function isSafeCall(call: FuncCall, kindOf: KindOfColumn): boolean {
  const name = plainCall(call);
  const [first, second, ...more] = call.args ?? [];
  if (name === undefined || first === undefined || more.length > 0) return false;
  if (TEXT_FUNCTIONS.has(name)) return second === undefined && cannotFailOnRows(first, kindOf);
  if (name === "extract" || name === "date_part")
    return isField(first) && second !== undefined && isTime(second, kindOf);
  if (name === "to_char") return isTime(first, kindOf) && FORMAT.test(textOf(second) ?? "?");
  return false;
}

function plainCall({ funcname, agg_filter, agg_order, over, agg_distinct, func_variadic }: FuncCall) {
  if (agg_filter ?? agg_order ?? over ?? agg_distinct ?? func_variadic) return undefined;
  return builtinName(funcname ?? []);
}

/**
 * The server rejects other fields when it evaluates a row (22023); some are rejected by extract but not by date_trunc.
 */
const FIELDS = new Set(
  "second minute hour day week month quarter year decade century dow isodow doy isoyear epoch".split(" "),
);
const UNITS = new Set("second minute hour day week month quarter year decade century".split(" "));

function isField(node: Node): boolean {
  return FIELDS.has(textOf(node) ?? "");
}

const NOW = new Set(["now", "transaction_timestamp", "statement_timestamp"]);
const DATES = new Set(["SVFOP_CURRENT_DATE", "SVFOP_CURRENT_TIMESTAMP", "SVFOP_LOCALTIMESTAMP"]);
const TIME_TYPES = new Set(["date", "timestamp", "timestamptz"]);
const MOST_STEPS = 3;

/**
 * A point in time: a column, the clock, or a time a little before or after. Only a leap of thousands of years would
 * leave the range of timestamps (4713 BC to 294276 AD), so steps must be few and small.
 */
function isTime(node: Node, kindOf: KindOfColumn, steps = MOST_STEPS): boolean {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "ColumnRef":
      return kindOf(node) === "time";
    case "SQLValueFunction":
      return DATES.has((body as { op?: string }).op ?? "");
    case "FuncCall": {
      const name = plainCall(body as FuncCall) ?? "";
      const [unit, value, ...more] = (body as FuncCall).args ?? [];
      if (NOW.has(name)) return unit === undefined;
      const isTruncation = name === "date_trunc" && UNITS.has(textOf(unit) ?? "") && more.length === 0;
      return isTruncation && value !== undefined && isTime(value, kindOf, steps);
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      const isTarget = TIME_TYPES.has(builtinName(typeName?.names ?? []) ?? "");
      const isPlain = (typeName?.typmods ?? typeName?.arrayBounds) === undefined;
      return isTarget && isPlain && arg !== undefined && isTime(arg, kindOf, steps);
    }
    case "A_Expr": {
      const { kind, name, lexpr, rexpr } = body as A_Expr;
      const symbol = name?.length === 1 && name[0] !== undefined ? stringOf(name[0]) : "";
      if (kind !== "AEXPR_OP" || (symbol !== "+" && symbol !== "-") || steps === 0) return false;
      return lexpr !== undefined && isSmallStep(rexpr) && isTime(lexpr, kindOf, steps - 1);
    }
    default:
      return false;
  }
}

const STEP = /^\s*[-+]?\d{1,3}\s*(?:second|minute|hour|day|week|month|year)s?\s*$/i;
const LONGEST_DAYS = 99_999;

/** `interval '30 days'`, or a whole number of days. */
function isSmallStep(node: Node | undefined): boolean {
  if (node === undefined) return false;
  const [type, body] = nodeOf(node);
  if (type === "A_Const") {
    const { ival } = body as A_Const;
    return ival !== undefined && Math.abs(ival.ival ?? 0) <= LONGEST_DAYS;
  }
  if (type !== "TypeCast") return false;
  const { arg, typeName } = body as TypeCast;
  return builtinName(typeName?.names ?? []) === "interval" && STEP.test(textOf(arg) ?? "");
}
