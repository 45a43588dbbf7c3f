import { isDeepStrictEqual } from "node:util";
import type { A_Const, A_Expr, BoolExpr, ColumnRef, List, Node, TypeCast } from "libpg-query";
import { type Analysis, candidates, type FromReference, type Level, type Pin } from "./analysis.ts";
import { operator } from "./expressions.ts";
import { outerReference } from "./gathering.ts";
import { type Body, nodeOf, stringOf } from "./grammar.ts";
import { hasIndex } from "./indexed.ts";
import { MAXIMUM_VALUES } from "./lookup-forms.ts";
import { parseText } from "./parse.ts";
import { quoteIdentifier, type Source } from "./source.ts";

/** Built-in comparisons that cannot fail nor tell of a row that they reject (proleakproof of their functions). */
const LEAKPROOF = new Set(["=", "<", "<=", ">", ">=", "<>"]);

/** Of an operator as `simpleCondition` names it. */
export function isLeakproof(operator: string): boolean {
  return LEAKPROOF.has(operator) || operator === "between";
}

const COMPARED_TYPES = new Set([
  "int2",
  "int4",
  "int8",
  "text",
  "varchar",
  "bpchar",
  "bool",
  "date",
  "timestamp",
  "timestamptz",
  "uuid",
  "oid",
  "float4",
  "float8",
]);

/** `column = constant`, `column IN (…)` and their like, as found among a level's top-level AND-ed conditions. */
interface SimpleCondition {
  readonly body: Body;
  readonly column: ColumnRef;
  /** `=`, `<` …; IN and = ANY count as `=`, BETWEEN as `between`. */
  readonly operator: string;
  /** Undefined where it is not one or several constants or parameters. */
  readonly values: readonly Extent[] | undefined;
  /** Byte range of the whole condition. */
  readonly start: number;
  readonly end: number;
}

/** References of a level that some condition on an indexed column holds small; see held-by-join.ts for others. */
export type Restricted = ReadonlySet<FromReference>;

/** Conditions, and the references whose rows they restrict. */
export interface Clause {
  readonly quals: Node;
  readonly restrictable: readonly FromReference[];
}

/**
 * Looks at the top-level AND-ed conditions of a level: exact look-ups move inside the subquery of their
 * relation, where the real column is in scope and its index serves; plain conditions are repeated inside a
 * fence. Returns the references that are held small by an indexed column; `held`: those that are known to be.
 */
export function levelConditions(
  analysis: Analysis,
  level: Level,
  clauses: readonly Clause[],
  held: Iterable<FromReference>,
): Restricted {
  const restricted = new Set(held);
  for (const { quals, restrictable } of clauses) {
    for (const conjunct of conjuncts(quals)) {
      const pair = columnEquality(conjunct);
      if (pair !== undefined) pinToOuter(analysis, level, pair, restrictable);
      const condition = simpleCondition(analysis.source, conjunct);
      const target = condition && onlyReference(level, condition.column);
      if (condition === undefined || target === undefined || !restrictable.includes(target)) continue;
      place(analysis, condition, target, level);
      if (condition.operator === "=" && condition.values?.length === 1)
        pin(analysis, target, columnName(target, condition.column), "constant");
      const name = columnName(target, condition.column);
      // On a mask a condition holds nothing small: many people share one.
      const isReal =
        analysis.moved.has(condition.body) ||
        target.use?.sight?.columns.some(({ column, kind }) => column.name === name && kind === "real") ===
          true;
      if (isReal && isIndexed(analysis, target, name) && ["=", "between"].includes(condition.operator))
        restricted.add(target);
    }
  }
  return restricted;
}

/** `subject = outer.column`: its rows are one person's for each row around. */
function pinToOuter(
  analysis: Analysis,
  level: Level,
  [left, right]: readonly [ColumnRef, ColumnRef],
  restrictable: readonly FromReference[],
): void {
  for (const [own, other] of [
    [left, right],
    [right, left],
  ] as const) {
    const target = onlyReference(level, own);
    const outer = outerReference(level, { ColumnRef: other });
    if (target !== undefined && outer !== undefined && restrictable.includes(target))
      pin(analysis, target, columnName(target, own), outer);
  }
}

function pin(analysis: Analysis, { use }: FromReference, column: string | undefined, to: Pin): void {
  const people = use?.sight?.people;
  if (use === undefined || people?.subject === undefined || people.unknown > 0) return;
  const type = use.relation.columns.find(({ name }) => name === column)?.typeOid;
  // Of another type's equality nobody knows what it takes for equal.
  const isPlain = isComparedType(analysis, type);
  if (column === people.subject.column && isPlain && !analysis.pins.has(use)) analysis.pins.set(use, to);
}

export function isComparedType({ scope }: Analysis, oid: number | undefined): boolean {
  const type = oid === undefined ? undefined : scope.catalog.typesByOid.get(oid);
  return type?.schema === "pg_catalog" && COMPARED_TYPES.has(type.name);
}

function place(analysis: Analysis, condition: SimpleCondition, target: FromReference, level: Level): void {
  const { use } = target;
  const name = columnName(target, condition.column);
  const sight = use?.sight?.columns.find(({ column }) => column.name === name);
  if (use === undefined || sight === undefined || condition.values === undefined) return;
  if (condition.values.length > MAXIMUM_VALUES) return;
  const isLookup =
    (sight.kind === "masked" || sight.kind === "conditional") && sight.findable && condition.operator === "=";
  if (use.isTarget) {
    // A write's target has no subquery: the condition stays where it is, on the real column.
    if (!isLookup) return;
    visitValues(analysis, condition.body, level);
    analysis.lookups += condition.values.length;
    analysis.costs(sight, "looked up");
    analysis.moved.add(condition.body);
    return;
  }
  const isFenced =
    sight.kind === "real" && use.sight?.filter !== undefined && LEAKPROOF.has(condition.operator);
  const isBuiltin = isComparedType(analysis, sight.column.typeOid);
  if (!(isLookup || (isFenced && isBuiltin)) || !readsBackTheSame(analysis.source, condition)) return;
  visitValues(analysis, condition.body, level);
  const operator = isBuiltin ? `OPERATOR(pg_catalog.${condition.operator})` : condition.operator;
  const tests = condition.values.map(
    ({ text }) => `${quoteIdentifier(sight.column.name)} ${operator} ${text}`,
  );
  use.conditions.push(tests.length === 1 ? `(${tests[0]})` : `((${tests.join(") OR (")}))`);
  if (!isLookup) return;
  analysis.lookups += condition.values.length;
  analysis.costs(sight, "looked up");
  analysis.masked.add(sight.className ?? sight.column.name);
  analysis.moved.add(condition.body);
  analysis.edit(condition.start, condition.end, "true", { kind: "condition", location: condition.start });
}

/** A condition that moves is not visited as a whole: its operator and its values are, for a cast may run code. */
function visitValues(analysis: Analysis, body: Body, level: Level): void {
  const { name, lexpr, rexpr } = body as A_Expr;
  operator(analysis, name ?? []);
  for (const side of [lexpr, rexpr])
    if (side !== undefined && nodeOf(side)[0] !== "ColumnRef") analysis.nodes(side, level);
}

/** `a AND (b AND c)` → a, b, c */
export function conjuncts(node: Node): readonly Node[] {
  const [type, body] = nodeOf(node);
  if (type !== "BoolExpr" || (body as BoolExpr).boolop !== "AND_EXPR") return [node];
  return ((body as BoolExpr).args ?? []).flatMap(conjuncts);
}

/** Recognises a simple condition on one column. */
export function simpleCondition(source: Source, node: Node): SimpleCondition | undefined {
  const [type, body] = nodeOf(node);
  if (type !== "A_Expr") return undefined;
  const { kind, name, lexpr, rexpr, rexpr_list_end } = body as A_Expr;
  if (lexpr === undefined || rexpr === undefined || name?.length !== 1 || name[0] === undefined)
    return undefined;
  const symbol = stringOf(name[0]);
  const left = extent(source, lexpr);
  if (kind === "AEXPR_OP") {
    const right = extent(source, rexpr);
    if (left === undefined || right === undefined) return undefined;
    const span = { start: left.start, end: right.end };
    if (left.column !== undefined && right.column === undefined)
      return { body, column: left.column, operator: symbol, values: [right], ...span };
    const mirrored = MIRRORED[symbol];
    if (right.column === undefined || left.column !== undefined || mirrored === undefined) return undefined;
    return { body, column: right.column, operator: mirrored, values: [left], ...span };
  }
  if (left?.column === undefined) return undefined;
  const items = listItems(rexpr)?.map((item) => extent(source, item));
  const values = items?.every((item) => item !== undefined && item.column === undefined)
    ? items.filter((item) => item !== undefined)
    : undefined;
  if (kind === "AEXPR_IN" && symbol === "=" && values !== undefined && rexpr_list_end !== undefined) {
    return { body, column: left.column, operator: "=", values, start: left.start, end: rexpr_list_end + 1 };
  }
  const isConstant = extent(source, rexpr);
  if (
    kind === "AEXPR_OP_ANY" &&
    symbol === "=" &&
    isConstant !== undefined &&
    isConstant.column === undefined
  ) {
    return { body, column: left.column, operator: "=", values: undefined, start: 0, end: 0 };
  }
  if (kind === "AEXPR_BETWEEN" && values?.length === 2)
    return { body, column: left.column, operator: "between", values: undefined, start: 0, end: 0 };
  return undefined;
}

const MIRRORED: Readonly<Record<string, string>> = {
  "=": "=",
  "<": ">",
  ">": "<",
  "<=": ">=",
  ">=": "<=",
  "<>": "<>",
};

function listItems(node: Node): readonly Node[] | undefined {
  const [type, body] = nodeOf(node);
  return type === "List" ? (body as List).items : undefined;
}

class Extent {
  readonly start: number;
  readonly end: number;
  readonly column: ColumnRef | undefined;
  readonly #source: Source;

  constructor(source: Source, start: number, end: number, column?: ColumnRef) {
    this.#source = source;
    this.start = start;
    this.end = end;
    this.column = column;
  }

  /** The client's own; copied when it is asked for, as most conditions stay where they are. */
  get text(): string {
    return this.#source.slice(this.start, this.end);
  }
}

/** Where a column, a constant, a parameter or a constant with a one-word cast begins and ends. */
function extent(source: Source, node: Node): Extent | undefined {
  const [type, body] = nodeOf(node);
  const { location } = body as { location?: number };
  if (location === undefined) return undefined;
  const between = (first: number, last: number, column?: ColumnRef): Extent | undefined => {
    const [start, end] = [source.token(first)?.start, source.token(last)?.end];
    return start === undefined || end === undefined ? undefined : new Extent(source, start, end, column);
  };
  switch (type) {
    case "ColumnRef": {
      const column = body as ColumnRef;
      if (column.fields?.some((field) => nodeOf(field)[0] !== "String")) return undefined;
      const first = source.tokenAt(location);
      return between(first, source.nameEnd(first), column);
    }
    case "ParamRef":
      return between(source.tokenAt(location), source.tokenAt(location));
    case "A_Const": {
      if ((body as A_Const).isnull) return undefined;
      const first = source.tokenAt(location);
      return between(first, source.partEnd(source.token(first)?.text === "-" ? first + 1 : first));
    }
    case "TypeCast": {
      const { arg, typeName } = body as TypeCast;
      const inner = arg && extent(source, arg);
      const names = (typeName?.names ?? []).map(stringOf);
      if (
        inner === undefined ||
        inner.column !== undefined ||
        (names.length > 1 && names[0] !== "pg_catalog")
      )
        return undefined;
      if (
        (typeName?.arrayBounds?.length ?? 0) > 0 ||
        (typeName?.typmods?.length ?? 0) > 0 ||
        location < inner.end
      )
        return undefined;
      const operator = source.tokenAt(location);
      if (source.token(operator)?.text !== "::") return undefined;
      const last = source.nameEnd(operator + 1);
      const end = source.token(last)?.end;
      return end === undefined ? undefined : new Extent(source, inner.start, end);
    }
    default:
      return undefined;
  }
}

/** The bytes that are about to be moved must read, by themselves, as exactly this condition. */
export function readsBackTheSame(
  source: Source,
  condition: Pick<SimpleCondition, "body" | "start" | "end">,
): boolean {
  const parsed = parseText(`SELECT 1 WHERE ${source.slice(condition.start, condition.end)}`);
  const statement = parsed.ok ? parsed.statements[0] : undefined;
  if (statement === undefined) return false;
  const [, select] = nodeOf(statement.node);
  const { whereClause } = select as { whereClause?: Node };
  return (
    whereClause !== undefined &&
    isDeepStrictEqual(withoutPlaces(nodeOf(whereClause)[1]), withoutPlaces(condition.body))
  );
}

function withoutPlaces(tree: object): unknown {
  return JSON.parse(
    JSON.stringify(tree, (key, value) =>
      key === "location" || key.endsWith("list_start") || key.endsWith("list_end") ? undefined : value,
    ),
  );
}

export function columnEquality(node: Node): readonly [ColumnRef, ColumnRef] | undefined {
  const [type, body] = nodeOf(node);
  const { kind, name, lexpr, rexpr } = body as A_Expr;
  if (type !== "A_Expr" || kind !== "AEXPR_OP" || lexpr === undefined || rexpr === undefined)
    return undefined;
  if (name?.length !== 1 || name[0] === undefined || stringOf(name[0]) !== "=") return undefined;
  const [[leftType, left], [rightType, right]] = [nodeOf(lexpr), nodeOf(rexpr)];
  return leftType === "ColumnRef" && rightType === "ColumnRef"
    ? [left as ColumnRef, right as ColumnRef]
    : undefined;
}

/** The one reference of this very level that a column surely means. */
export function onlyReference(level: Level, column: ColumnRef): FromReference | undefined {
  const fields = (column.fields ?? []).map(stringOf);
  const [name, qualifier] = [fields.at(-1), fields.at(-2)];
  if (name === undefined) return undefined;
  const found = candidates({ ...level, outer: undefined }, qualifier, name).filter(
    ({ columns }) => columns === undefined || columns.has(name),
  );
  return found.length === 1 && found[0]?.columns !== undefined ? found[0] : undefined;
}

export function columnName(reference: FromReference, column: ColumnRef): string | undefined {
  const last = column.fields?.at(-1);
  return last === undefined ? undefined : reference.columns?.get(stringOf(last));
}

export function isIndexed(analysis: Analysis, reference: FromReference, column: string | undefined): boolean {
  const relation = reference.use?.relation;
  return relation !== undefined && column !== undefined && hasIndex(analysis.scope.catalog, relation, column);
}
