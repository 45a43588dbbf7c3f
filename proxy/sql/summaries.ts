import type { ColumnRef, FuncCall, GroupingSet, Node, ResTarget, SelectStmt, SortBy } from "libpg-query";
import { type Analysis, candidates, type FromReference, type Level } from "./analysis.ts";
import { isSummary } from "./functions.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import { addNoise, groupsOfPeople, noiseIn } from "./noisy-calls.ts";
import { enoughSql } from "./perturbation.ts";
import {
  AFTER_GROUPING,
  AFTER_HAVING,
  AFTER_ORDER,
  clauseEnd,
  fromKeyword,
  placeOf,
  targetOf,
  word,
} from "./places.ts";
import { requireTiedRelations } from "./summary-joins.ts";
import { requireBroadSelection } from "./summary-selection.ts";

/** What a level reads, as its summaries must know it. */
export interface SummaryLevel {
  readonly level: Level;
  /** References below a join's alias. */
  readonly hidden: readonly FromReference[];
  /** References that no outer join leaves out. */
  readonly present: readonly FromReference[];
}

/**
 * `aggregates_only`: a level that reads people gives back counts, sums and averages of whole groups, rounded (see
 * perturbation.ts), and a condition on the number of people in a group is added to it.
 */
export function requireSummaries(analysis: Analysis, body: SelectStmt, from: SummaryLevel): void {
  const { aggregatesOnly, name } = analysis.scope.role;
  const { level, hidden } = from;
  const people = [...level.references, ...hidden].filter(({ use }) => use?.sight?.people !== undefined);
  if (aggregatesOnly === undefined || people.length === 0) return;
  const refuse = (message: string): never =>
    analysis.deny(
      message,
      "aggregates_only",
      "Select, sort and filter groups by GROUP BY columns and by count, sum or avg of plain columns, without FILTER, OVER or a calculation inside; docs/aggregates.md lists what else is allowed.",
    );
  const grouped = (body.groupClause ?? []).flatMap(groupingExpressions).map(plain);
  const isGrouping = (node: Node): boolean =>
    grouped.includes(plain(node)) || namesGroupedOutput(node, body, level);
  const allowed: Allowed = { isGrouping, isCounted: (node) => isCountedColumn(node, from) };
  if (hidden.some(({ use }) => use?.sight?.people !== undefined))
    refuse(`role "${name}" may not read people through a join with an alias`);
  // An order or a condition over anything else would tell of single people within the groups.
  const shown = shownClauses(body);
  const nodes = body.havingClause === undefined ? shown : [...shown, body.havingClause];
  for (const node of nodes) {
    const value = itemValue(node);
    if (value === undefined || isGrouping(value) || isSummaryExpression(value, allowed)) continue;
    if ((body.sortClause ?? []).includes(node) && namesOutput(value, body)) continue;
    refuse(`role "${name}" may only see summaries of ${people.map(({ use }) => use?.key).join(", ")}`);
  }
  if (body.windowClause !== undefined) refuse(`role "${name}" may not use windows over people`);
  // Rows without columns have no place for a condition on their group, and tell nothing but how many groups there are.
  const summarises =
    body.targetList !== undefined && (grouped.length > 0 || body.targetList.some(containsAggregate));
  if (!summarises)
    refuse(`role "${name}" may only see summaries of ${people.map(({ use }) => use?.key).join(", ")}`);
  requireBroadSelection(analysis, body, level, (body.groupClause ?? []).flatMap(groupingExpressions));
  const noise = noiseIn(analysis);
  if (noise !== undefined) requireTiedRelations(analysis, body, level);
  const groups = groupsOfPeople(analysis, people);
  const tests = groups.map(({ person, identity }) =>
    enoughSql(person, aggregatesOnly.minGroup, noise && { ...noise, identity }),
  );
  if (noise !== undefined) addNoise(analysis, nodes, level, { noise, groups });
  addHaving(analysis, body, tests.join(" AND "));
  addFence(analysis, body, level);
}

/** Items of the target list, ORDER BY and DISTINCT ON; a plain DISTINCT is an empty node. */
function shownClauses({ targetList, sortClause, distinctClause }: SelectStmt): readonly Node[] {
  return [targetList, sortClause, distinctClause]
    .flatMap((clause) => clause ?? [])
    .filter((node) => Object.keys(node).length > 0);
}

interface Allowed {
  readonly isGrouping: (node: Node) => boolean;
  /** May stand in an aggregate. */
  readonly isCounted: (node: Node) => boolean;
}

/** Of an item of a target list or an ORDER BY. */
function itemValue(node: Node): Node | undefined {
  const [type, body] = nodeOf(node);
  if (type === "ResTarget") return (body as ResTarget).val;
  return type === "SortBy" ? (body as SortBy).node : node;
}

/** `ORDER BY 2`, or by the name of an output column. */
function namesOutput(node: Node, { targetList }: SelectStmt): boolean {
  const [type, body] = nodeOf(node);
  if (type === "A_Const") return true;
  const [field, ...more] = type === "ColumnRef" ? ((body as ColumnRef).fields ?? []) : [];
  if (field === undefined || more.length > 0) return false;
  // An output column's name comes before an input column's here (Postgres docs, "ORDER BY Clause").
  return (targetList ?? []).some((target) => (nodeOf(target)[1] as ResTarget).name === stringOf(field));
}

/**
 * Aggregates take columns of relations as they are. One computed in a subquery, or left out by an outer join's
 * condition, would single people out as FILTER does.
 */
function isCountedColumn(node: Node, { level, present }: SummaryLevel): boolean {
  const [type, body] = nodeOf(node);
  if (type === "A_Const") return true;
  const fields = type === "ColumnRef" ? ((body as ColumnRef).fields ?? []) : [];
  if (fields.length === 0 || fields.some((field) => nodeOf(field)[0] !== "String")) return false;
  const [qualifier, name] =
    fields.length > 1 ? fields.slice(-2).map(stringOf) : [undefined, ...fields.map(stringOf)];
  return candidates({ ...level, outer: undefined }, qualifier, name ?? "").every(
    (reference) =>
      reference.use?.sight?.people !== undefined ||
      (reference.use?.sight !== undefined && present.includes(reference)),
  );
}

/** Constants, grouped expressions, and aggregates over plain columns; arithmetic of such. */
function isSummaryExpression(node: Node, allowed: Allowed): boolean {
  if (allowed.isGrouping(node)) return true;
  const [type, body] = nodeOf(node);
  switch (type) {
    case "A_Const":
    case "ParamRef":
      return true;
    case "FuncCall": {
      const call = body as FuncCall;
      const name = (call.funcname ?? []).map(stringOf).at(-1) ?? "";
      if (call.agg_filter !== undefined || call.over !== undefined || call.agg_order !== undefined)
        return false;
      if (isSummary(name)) return (call.args ?? []).every(allowed.isCounted);
      return (
        containsAggregate(node) &&
        (call.args ?? []).every((argument) => isSummaryExpression(argument, allowed))
      );
    }
    case "List":
    case "BoolExpr":
    case "NullTest":
    case "A_Expr":
    case "TypeCast":
    case "CoalesceExpr": {
      let all = true;
      forEachChild(type, body, (childType, child) => {
        if (childType === "String" || childType === "TypeName") return;
        all &&= isSummaryExpression({ [childType]: child } as unknown as Node, allowed);
      });
      return all;
    }
    default:
      return false;
  }
}

function containsAggregate(node: Node): boolean {
  let found = false;
  const look = (type: string, body: object): void => {
    if (type === "FuncCall" && isSummary(((body as FuncCall).funcname ?? []).map(stringOf).at(-1) ?? ""))
      found = true;
    if (type !== "SubLink") forEachChild(type, body, look);
  };
  visitNode(node, look);
  return found;
}

/** `GROUP BY 1`, or by an output name: an input column of that name comes first (Postgres docs, "GROUP BY Clause"). */
function namesGroupedOutput(node: Node, body: SelectStmt, level: Level): boolean {
  const index = (body.targetList ?? []).findIndex(
    (target) => (nodeOf(target)[1] as { val?: Node }).val === node,
  );
  if (index < 0) return false;
  const target = body.targetList?.[index];
  const name = target === undefined ? undefined : (nodeOf(target)[1] as { name?: string }).name;
  return (body.groupClause ?? []).some((group) => {
    const [type, value] = nodeOf(group);
    if (type === "A_Const") return (value as { ival?: { ival?: number } }).ival?.ival === index + 1;
    const fields = type === "ColumnRef" ? ((value as ColumnRef).fields ?? []) : [];
    return (
      name !== undefined &&
      fields.length === 1 &&
      fields[0] !== undefined &&
      stringOf(fields[0]) === name &&
      candidates({ ...level, outer: undefined }, undefined, name).length === 0
    );
  });
}

/** `ROLLUP (a, b)` groups by a and b, or by less. */
function groupingExpressions(node: Node): readonly Node[] {
  const [type, body] = nodeOf(node);
  return type === "GroupingSet" ? ((body as GroupingSet).content ?? []).flatMap(groupingExpressions) : [node];
}

function plain(node: Node): string {
  return JSON.stringify(node, (key, value) => (key === "location" ? undefined : value));
}

/**
 * Adds the condition before the client's own HAVING, or where a HAVING would stand. The client's is asked of groups of
 * enough people only: an error of it would tell of the others.
 */
function addHaving(analysis: Analysis, { targetList = [] }: SelectStmt, test: string): void {
  const { source } = analysis;
  const change = { kind: "having", last: lastTarget(targetList) } as const;
  const having = clauseEnd(analysis, fromKeyword(analysis, targetList), AFTER_GROUPING);
  const place = placeOf(source, having);
  if (word(source, having) !== "having") {
    analysis.edit(place, place, ` HAVING ${test} `, change);
    return;
  }
  const first = placeOf(source, having + 1);
  const end = placeOf(source, clauseEnd(analysis, having + 1, AFTER_HAVING));
  analysis.edit(first, first, `CASE WHEN (${test}) IS NOT TRUE THEN false ELSE (`, change);
  analysis.edit(end, end, ") END ");
}

/** Where the last target begins: by it the change of a query is found. */
function lastTarget(targetList: readonly Node[]): number {
  return targetOf(targetList.at(-1)).location ?? 0;
}

/**
 * A condition of the query around goes below a grouping where it names grouped columns only, and is then asked of single
 * people's rows (subquery_is_pushdown_safe in optimizer/path/allpaths.c). An OFFSET keeps it out.
 */
function addFence(analysis: Analysis, body: SelectStmt, level: Level): void {
  const { targetList = [], limitOffset, limitCount } = body;
  let around = level.outer;
  const isOperand = around?.isSetOperation === true;
  while (around?.isSetOperation === true) around = around.outer;
  if (around?.outer === undefined || limitOffset !== undefined || limitCount !== undefined) return;
  if (isOperand)
    analysis.deny(
      `role "${analysis.scope.role.name}" may not read people in a set operation inside another query`,
      "aggregates_only",
      "Write the set operation around whole summaries, at the top of the statement.",
    );
  const end = clauseEnd(analysis, fromKeyword(analysis, targetList), AFTER_ORDER);
  const place = placeOf(analysis.source, end);
  analysis.edit(place, place, " OFFSET 0 ", { kind: "fence", last: lastTarget(targetList) });
}
