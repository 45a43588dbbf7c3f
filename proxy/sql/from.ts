import type {
  Alias,
  FuncCall,
  JoinExpr,
  Node,
  RangeFunction,
  RangeSubselect,
  RangeTableSample,
  RangeVar,
  SelectStmt,
} from "libpg-query";
import type { LeftOut } from "./absence.ts";
import {
  type Analysis,
  type CteScope,
  type CteUse,
  type FromReference,
  innerLevel,
  type Level,
  partOfFrom,
  type RelationUse,
} from "./analysis.ts";
import { conjuncts } from "./conditions.ts";
import { operatorOf } from "./expressions.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { noteSelected } from "./marking.ts";
import { masksOf, noteMask } from "./mask-comparisons.ts";
import { readUse } from "./names.ts";
import { closingParenthesis } from "./places.ts";
import { wrapReference } from "./wrap.ts";

/** A reference to a relation in FROM: put in safe form once the level's conditions have been looked at. */
export interface PendingWrap {
  readonly name: RangeVar;
  readonly use: RelationUse;
  readonly sample: string;
}

/** What one FROM item gives to the level around it. */
export interface FromItem {
  /** References whose rows a condition of the level (or of the join around) may restrict: not on the nullable side of an outer join. */
  readonly restrictable: readonly FromReference[];
  /** Conditions that restrict exactly such references: of inner joins, with what they may restrict. */
  readonly joins: readonly {
    readonly quals: Node;
    readonly restrictable: readonly FromReference[];
    /** What the condition can name. */
    readonly sides: Level;
  }[];
  readonly wraps: readonly PendingWrap[];
  /** References below a join with an alias: expressions cannot name them, and no condition is known to restrict them. */
  readonly hidden: readonly FromReference[];
  /** What outer joins may leave out. */
  readonly leftOut: readonly LeftOut[];
}

const NOTHING: FromItem = { restrictable: [], joins: [], wraps: [], hidden: [], leftOut: [] };

/** Visits one item of a FROM clause and adds what it exposes to the level. */
export function fromItem(analysis: Analysis, item: Node, level: Level): FromItem {
  const [type, body] = nodeOf(item);
  analysis.meetRelation();
  switch (type) {
    case "RangeVar":
      return relation(analysis, body as RangeVar, level, "");
    case "RangeTableSample":
      return sampled(analysis, body as RangeTableSample, level);
    case "JoinExpr":
      return join(analysis, body as JoinExpr, level);
    case "RangeSubselect": {
      const { subquery, alias, lateral } = body as RangeSubselect;
      const mentions = analysis.maskMentions.length;
      analysis.nodes(subquery, lateral ? level : partOfFrom(level, []));
      level.references.push({
        alias: alias?.aliasname ?? "",
        columns: subqueryColumns(subquery, alias),
        use: undefined,
        masks: masksOf(analysis, subquery, mentions, (alias?.colnames ?? []).map(stringOf)),
      });
      return NOTHING;
    }
    case "RangeFunction":
      analysis.children(type, body, level);
      level.references.push({
        alias: (body as RangeFunction).alias?.aliasname ?? "",
        columns: undefined,
        use: undefined,
      });
      return NOTHING;
    case "RangeTableFunc":
    case "JsonTable":
      analysis.children(type, body, level);
      level.references.push({
        alias: (body as { alias?: Alias }).alias?.aliasname ?? "",
        columns: undefined,
        use: undefined,
      });
      return NOTHING;
    default:
      return analysis.refuse("42501", "Sluice does not know this kind of item in a FROM clause", {
        hint: "Known are relations, joins, subqueries, functions, XMLTABLE and JSON_TABLE.",
      });
  }
}

function relation(analysis: Analysis, name: RangeVar, level: Level, sample: string): FromItem {
  const alias = name.alias?.aliasname ?? name.relname ?? "";
  const cte = name.schemaname === undefined ? cteNamed(name.relname ?? "", level.ctes) : undefined;
  if (cte !== undefined) {
    analysis.ctePeople += cte.people;
    if (cte.masked !== undefined) analysis.mentionMasked(cte.masked);
    const { masks } = cte;
    level.references.push({ alias, columns: undefined, use: undefined, ...(masks && { masks }) });
    return NOTHING;
  }
  const use = readUse(analysis, name);
  const renamed = (name.alias?.colnames ?? []).map(stringOf);
  const columns = new Map<string, string>();
  for (const [index, { name: column }] of use.relation.columns.entries())
    if (use.sight?.columns[index]?.kind !== "absent") columns.set(renamed[index] ?? column, column);
  const reference: FromReference = { alias, columns, use };
  level.references.push(reference);
  noteSelected(analysis, name, reference);
  return { restrictable: [reference], joins: [], wraps: [{ name, use, sample }], hidden: [], leftOut: [] };
}

function cteNamed(name: string, scope: CteScope | undefined): CteUse | undefined {
  for (let at = scope; at !== undefined; at = at.outer) {
    const use = at.names.get(name);
    if (use !== undefined) return use;
  }
  return undefined;
}

/**
 * `c TABLESAMPLE bernoulli (10)`: the sample belongs to the table, so it moves inside the subquery. Its
 * arguments are left as they are written, and so may be no more than constants and parameters.
 */
function sampled(analysis: Analysis, item: RangeTableSample, level: Level): FromItem {
  const [type, body] = nodeOf(item.relation ?? {});
  if (type !== "RangeVar")
    return analysis.refuse("42501", "TABLESAMPLE is only known on a relation", {
      hint: "Sample the table inside the subquery.",
    });
  for (const argument of [
    ...(item.args ?? []),
    ...(item.repeatable === undefined ? [] : [item.repeatable]),
  ]) {
    const [kind] = nodeOf(argument);
    if (kind !== "A_Const" && kind !== "ParamRef")
      analysis.refuse("42501", "TABLESAMPLE takes constants and parameters only", {
        hint: "Write the percentage as a number.",
      });
  }
  const method = (item.method ?? []).map(stringOf);
  if (!["bernoulli", "system"].includes(method.at(-1) ?? "") || method.length > 1)
    analysis.refuse("42501", `the sampling method ${method.join(".")} is not known`, {
      hint: "Use bernoulli or system.",
    });
  const { source } = analysis;
  const methodIndex = source.tokenAt(item.location ?? 0);
  let last = closingParenthesis(source, source.nameEnd(methodIndex) + 1);
  if (item.repeatable !== undefined) last = closingParenthesis(source, last + 2);
  const [start, end] = [source.token(methodIndex - 1)?.start, source.token(last)?.end];
  if (start === undefined || end === undefined) throw new Error("TABLESAMPLE without tokens");
  const result = relation(analysis, body as RangeVar, level, ` ${source.slice(start, end)}`);
  if (result.wraps.some(({ use }) => use.sight?.listed === true)) analysis.edit(start, end, "");
  return result;
}

function join(analysis: Analysis, expression: JoinExpr, level: Level): FromItem {
  if (expression.larg === undefined || expression.rarg === undefined) throw new Error("a join without sides");
  // An alias on the join hides the names below it: they are visible to the join's own condition only.
  const inside: Level = expression.alias === undefined ? level : { ...innerLevel(level), isPart: true };
  const before = inside.references.length;
  const left = fromItem(analysis, expression.larg, inside);
  const middle = inside.references.length;
  const right = fromItem(analysis, expression.rarg, inside);
  analysis.nodes(expression.usingClause, inside);
  const sides = partOfFrom(inside, inside.references.slice(before));
  joinedByName(analysis, expression, sides.references);
  // NATURAL joins by every column that both have; what an alias stands for has them all.
  if (expression.isNatural === true || expression.alias !== undefined)
    for (const { use } of sides.references) if (use !== undefined) analysis.wholes.add(use);
  if (expression.alias !== undefined)
    level.references.push({ alias: expression.alias.aliasname ?? "", columns: undefined, use: undefined });
  else if (expression.join_using_alias !== undefined)
    level.references.push({
      alias: expression.join_using_alias.aliasname ?? "",
      columns: new Map(),
      use: undefined,
    });
  const restrictable =
    {
      JOIN_INNER: [...left.restrictable, ...right.restrictable],
      JOIN_LEFT: left.restrictable,
      JOIN_RIGHT: right.restrictable,
    }[expression.jointype as string] ?? [];
  const joins = [...left.joins, ...right.joins];
  if (expression.quals !== undefined) {
    if (expression.jointype === "JOIN_INNER" && expression.alias === undefined)
      joins.push({ quals: expression.quals, restrictable, sides });
    else analysis.nodes(expression.quals, sides);
  }
  return {
    restrictable: expression.alias === undefined ? restrictable : [],
    joins,
    wraps: [...left.wraps, ...right.wraps],
    hidden: [...left.hidden, ...right.hidden, ...(expression.alias === undefined ? [] : inside.references)],
    leftOut: [
      ...left.leftOut,
      ...right.leftOut,
      ...leftOutBy(
        expression,
        { item: left, references: inside.references.slice(before, middle) },
        { item: right, references: inside.references.slice(middle) },
      ),
    ],
  };
}

interface JoinSide {
  readonly item: FromItem;
  readonly references: readonly FromReference[];
}

function leftOutBy(
  { jointype, quals, usingClause }: JoinExpr,
  left: JoinSide,
  right: JoinSide,
): readonly LeftOut[] {
  const using = usingClause?.map(stringOf) ?? [];
  const between = quals === undefined ? [] : conjuncts(quals);
  const leftOut = ({ item, references }: JoinSide, other: JoinSide): LeftOut => {
    const within = item.joins.map((inner) => inner.quals).flatMap(conjuncts);
    const tests = [...between, ...within];
    const held = jointype === "JOIN_FULL" ? within : tests;
    return { references, others: other.references, tests, held, using };
  };
  return [
    ...(jointype === "JOIN_LEFT" || jointype === "JOIN_FULL" ? [leftOut(right, left)] : []),
    ...(jointype === "JOIN_RIGHT" || jointype === "JOIN_FULL" ? [leftOut(left, right)] : []),
  ];
}

/** USING and NATURAL name columns without an expression: what they compare has been read. */
function joinedByName(
  analysis: Analysis,
  { usingClause, isNatural }: JoinExpr,
  sides: readonly FromReference[],
): void {
  if (usingClause === undefined && isNatural !== true) return;
  operatorOf(analysis, "=");
  const names = usingClause?.map(stringOf);
  for (const reference of sides) {
    const { use, columns } = reference;
    for (const [name, own] of columns ?? []) {
      const sight = use?.sight?.columns.find(({ column }) => column.name === own);
      if (sight === undefined || names?.includes(name) === false) continue;
      analysis.costs(sight, "named");
      noteMask(analysis, reference, name);
    }
  }
}

/** Names of a subquery's columns where they can be read off; undefined where not. */
function subqueryColumns(
  subquery: Node | undefined,
  alias: Alias | undefined,
): ReadonlyMap<string, string> | undefined {
  if (subquery === undefined) return undefined;
  const [type, body] = nodeOf(subquery);
  const select = body as SelectStmt;
  if (type !== "SelectStmt" || select.targetList === undefined) return undefined;
  const names = select.targetList.map((target) => targetName(target));
  if (names.includes(undefined)) return undefined;
  const renamed = (alias?.colnames ?? []).map(stringOf);
  return new Map(names.map((name, index) => [renamed[index] ?? name ?? "", name ?? ""]));
}

function targetName(target: Node): string | undefined {
  const [, body] = nodeOf(target);
  const { name, val } = body as { name?: string; val?: Node };
  if (name !== undefined || val === undefined) return name;
  const [type, value] = nodeOf(val);
  // As FigureColname of parser/parse_target.c names them.
  if (type === "FuncCall") return (value as FuncCall).funcname?.map(stringOf).at(-1);
  if (type !== "ColumnRef") return undefined;
  const last = (value as { fields?: Node[] }).fields?.at(-1);
  return last !== undefined && nodeOf(last)[0] === "String" ? stringOf(last) : undefined;
}

/** Writes the safe forms of a level's references. */
export function finishReferences(analysis: Analysis, wraps: readonly PendingWrap[]): void {
  for (const { name, use, sample } of wraps) wrapReference(analysis, name, use, sample);
}
