import type { ColumnRef, FuncCall, Node, SelectStmt } from "libpg-query";
import type { Analysis, Level } from "./analysis.ts";
import { stringOf } from "./from.ts";
import { isSummary } from "./functions.ts";
import { forEachChild, nodeOf, visitNode } from "./grammar.ts";
import { clauseEnd, fromKeyword, insertBefore, word } from "./places.ts";
import { quoteIdentifier } from "./source.ts";

/**
 * `aggregates_only`: a level that reads people gives back counts, sums and averages of whole groups, and a
 * condition on the number of people in a group is added to it.
 */
export function requireSummaries(analysis: Analysis, body: SelectStmt, level: Level): void {
  const { aggregatesOnly, name } = analysis.scope.role;
  const people = level.references.filter(({ use }) => use?.sight?.people !== undefined);
  if (aggregatesOnly === undefined || people.length === 0) return;
  const refuse = (message: string): never =>
    analysis.deny(
      message,
      "aggregates_only",
      "Ask for counts, sums or averages by group; groups of few people are left out.",
    );
  const grouped = (body.groupClause ?? []).map(plain);
  const isGrouping = (node: Node): boolean => grouped.includes(plain(node)) || namesGroupedOutput(node, body);
  for (const target of body.targetList ?? []) {
    const [, { val }] = nodeOf(target) as [string, { val?: Node }];
    if (val !== undefined && !isGrouping(val) && !isSummaryExpression(val, isGrouping)) {
      refuse(`role "${name}" may only see summaries of ${people.map(({ use }) => use?.key).join(", ")}`);
    }
  }
  if (body.windowClause !== undefined) refuse(`role "${name}" may not use windows over people`);
  const summarises = grouped.length > 0 || (body.targetList ?? []).some(containsAggregate);
  if (!summarises)
    refuse(`role "${name}" may only see summaries of ${people.map(({ use }) => use?.key).join(", ")}`);
  const tests = people.map(({ use, alias }) => {
    const subject = use?.sight?.people?.subject;
    if (subject === undefined)
      return refuse(`${use?.key} does not tell its people apart, so role "${name}" may not read it`);
    return `pg_catalog.count(DISTINCT ${quoteIdentifier(alias)}.${quoteIdentifier(subject.column)}) OPERATOR(pg_catalog.>=) ${aggregatesOnly.minGroup}`;
  });
  addHaving(analysis, body, tests.join(" AND "));
}

/** Constants, grouped expressions, and aggregates over plain columns; arithmetic of such. */
function isSummaryExpression(node: Node, isGrouping: (node: Node) => boolean): boolean {
  if (isGrouping(node)) return true;
  const [type, body] = nodeOf(node);
  switch (type) {
    case "A_Const":
    case "ParamRef":
      return true;
    case "FuncCall": {
      const call = body as FuncCall;
      const name = (call.funcname ?? []).map(stringOf).at(-1) ?? "";
      if (isSummary(name))
        return (
          call.agg_filter === undefined && call.over === undefined && (call.args ?? []).every(isPlainColumn)
        );
      return (
        containsAggregate(node) &&
        (call.args ?? []).every((argument) => isSummaryExpression(argument, isGrouping))
      );
    }
    case "A_Expr":
    case "TypeCast":
    case "CoalesceExpr": {
      let all = true;
      forEachChild(type, body, (childType, child) => {
        if (childType === "String" || childType === "TypeName") return;
        all &&= isSummaryExpression({ [childType]: child } as unknown as Node, isGrouping);
      });
      return all;
    }
    default:
      return false;
  }
}

function isPlainColumn(node: Node): boolean {
  const [type, body] = nodeOf(node);
  if (type === "A_Const") return true;
  return (
    type === "ColumnRef" &&
    (body as ColumnRef).fields?.every((field) => nodeOf(field)[0] === "String") === true
  );
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

/** `GROUP BY 1`, or by an output name. */
function namesGroupedOutput(node: Node, body: SelectStmt): boolean {
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
      name !== undefined && fields.length === 1 && fields[0] !== undefined && stringOf(fields[0]) === name
    );
  });
}

function plain(node: Node): string {
  return JSON.stringify(node, (key, value) => (key === "location" ? undefined : value));
}

/** Adds the condition before the client's own HAVING, or where a HAVING would stand. */
function addHaving(analysis: Analysis, body: SelectStmt, test: string): void {
  const { source } = analysis;
  const from = fromKeyword(source, body.fromClause ?? []);
  const having = clauseEnd(source, from, new Set(["having", ...AFTER_HAVING]));
  if (word(source, having) !== "having") {
    insertBefore(analysis, having, ` HAVING ${test} `);
    return;
  }
  insertBefore(analysis, having + 1, `${test} AND (`);
  insertBefore(analysis, clauseEnd(source, having + 1, AFTER_HAVING), ") ");
}

const AFTER_HAVING = new Set([
  "window",
  "order",
  "limit",
  "offset",
  "fetch",
  "for",
  "union",
  "intersect",
  "except",
  "returning",
]);
