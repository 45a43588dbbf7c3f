import type { ColumnRef, Node } from "libpg-query";
import type { Analysis, FromReference, Level } from "./analysis.ts";
import { isComparedType, isLeakproof } from "./comparisons.ts";
import {
  type Clause,
  columnName,
  conjuncts,
  isIndexed,
  onlyReference,
  readsBackTheSame,
  simpleCondition,
} from "./conditions.ts";
import { operator } from "./expressions.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import { type Comparison, comparisonsOf, MAXIMUM_VALUES, type Test, testOf } from "./lookup-forms.ts";
import type { Given } from "./lookup-sides.ts";
import { applyInOrder, inOrder } from "./rewrite.ts";
import type { ColumnSight } from "./sight.ts";
import { quoteIdentifier } from "./source.ts";

/*
 * Look-ups by exact value in other forms than `column = value`, which conditions.ts knows: all that tries exact values and
 * nothing more. Such a condition moves inside the subquery of its relation as a whole; where it stood each comparison that
 * was moved leaves `true`. AND and OR of what holds hold as well, so no row is lost by that.
 */

/** Moves the look-ups of a level; gives the references that they hold small by an indexed column. */
export function levelLookups(
  analysis: Analysis,
  level: Level,
  clauses: readonly Clause[],
): readonly FromReference[] {
  const held: FromReference[] = [];
  for (const { quals, restrictable } of clauses) {
    for (const conjunct of conjuncts(quals)) {
      if (!namesFindable(level, conjunct) || isKnown(analysis, conjunct)) continue;
      const test = testOf(analysis.source, conjunct);
      const target = test && targetOf(level, comparisonsOf(test));
      if (test === undefined || target === undefined || !restrictable.includes(target)) continue;
      if (
        !comparisonsOf(test).every((each) => mayMove(analysis, target, each)) ||
        tries(target, test) > MAXIMUM_VALUES
      )
        continue;
      move(analysis, level, target, test);
      if (holdsSmall(analysis, target, test)) held.push(target);
    }
  }
  return held;
}

/** Looked at first, as to look at constants makes a verdict one of this text alone. */
function namesFindable(level: Level, conjunct: Node): boolean {
  let isNamed = false;
  const look = (type: string, body: object): void => {
    if (type === "ColumnRef") {
      const reference = onlyReference(level, body as ColumnRef);
      isNamed ||= reference !== undefined && isHidden(sightOf(reference, body as ColumnRef));
    } else if (type !== "SubLink" && !isNamed) forEachChild(type, body, look);
  };
  visitNode(conjunct, look);
  return isNamed;
}

/** `column = value` and `column IN (…)`. */
function isKnown({ source }: Analysis, conjunct: Node): boolean {
  const { operator: symbol, values } = simpleCondition(source, conjunct) ?? {};
  return symbol === "=" && values !== undefined;
}

/** The one reference whose columns are compared. */
function targetOf(level: Level, comparisons: readonly Comparison[]): FromReference | undefined {
  const [first, ...more] = comparisons.map(({ column }) => onlyReference(level, column));
  return more.every((each) => each === first) ? first : undefined;
}

function sightOf(reference: FromReference, column: ColumnRef): ColumnSight | undefined {
  const name = columnName(reference, column);
  return reference.use?.sight?.columns.find((sight) => sight.column.name === name);
}

/** Not seen as it is, and may be searched by exact value. */
function isHidden(sight: ColumnSight | undefined): boolean {
  return sight?.findable === true && (sight.kind === "masked" || sight.kind === "conditional");
}

function mayMove(analysis: Analysis, target: FromReference, comparison: Comparison): boolean {
  const { column, exact, symbol, isWrapped, calls } = comparison;
  const sight = sightOf(target, column);
  if (sight === undefined || (isWrapped && !isText(analysis, sight))) return false;
  if (calls.some((call) => hasNamesake(analysis, (call.funcname ?? []).map(stringOf).at(-1) ?? "")))
    return false;
  if (!readsBackTheSame(analysis.source, comparison)) return false;
  if (!isHidden(sight))
    return (
      sight.kind === "real" &&
      (isLeakproof(symbol) || isMatch(symbol)) &&
      isComparedType(analysis.scope.catalog, sight.column.typeOid)
    );
  return exact !== undefined && !(analysis.isForLater && exact.asks.length > 0);
}

function isMatch(symbol: string): boolean {
  return symbol === "~~" || symbol === "~~*";
}

/** Postgres's own types are cast to text by code of its own, and so is citext. */
function isText(analysis: Analysis, { column }: ColumnSight): boolean {
  const type = analysis.scope.catalog.typesByOid.get(column.typeOid);
  return (
    isComparedType(analysis.scope.catalog, column.typeOid) || (type?.name === "citext" && type.plainInput)
  );
}

function hasNamesake({ scope }: Analysis, name: string): boolean {
  return (scope.catalog.functionsByName.get(name) ?? []).some(({ schema }) => schema !== "pg_catalog");
}

/** How many values its text tries of hidden columns. */
function tries(target: FromReference, test: Test): number {
  return comparisonsOf(test)
    .filter(({ column }) => isHidden(sightOf(target, column)))
    .reduce((sum, { exact }) => sum + (exact?.tries ?? 0), 0);
}

function move(analysis: Analysis, level: Level, target: FromReference, test: Test): void {
  const { use } = target;
  if (use === undefined) throw new Error("a look-up in no relation");
  // A write's target has no subquery: the condition stays where it is, on the real column.
  if (!use.isTarget) use.conditions.push(conditionOf(analysis, level, target, test));
  for (const comparison of comparisonsOf(test)) {
    const sight = sightOf(target, comparison.column);
    if (sight === undefined || !isHidden(sight)) continue;
    if (use.isTarget) visit(analysis, level, comparison);
    else
      analysis.edit(comparison.start, comparison.end, "true", {
        kind: "condition",
        location: comparison.start,
      });
    for (const call of comparison.calls) analysis.passOver(call);
    analysis.moved.add(comparison.body);
    analysis.lookups += comparison.exact?.tries ?? 0;
    analysis.asks.push(...(comparison.exact?.asks ?? []));
    analysis.costs(sight, "looked up");
    if (!use.isTarget) analysis.masked.add(sight.className ?? sight.column.name);
  }
}

function visit(analysis: Analysis, level: Level, { body, givens }: Comparison): void {
  operator(analysis, (body as { name?: Node[] }).name ?? []);
  for (const { node } of givens) analysis.nodes(node, level);
}

function conditionOf(analysis: Analysis, level: Level, target: FromReference, test: Test): string {
  if (test.kind !== "comparison") {
    const parts = test.args.map((each) => conditionOf(analysis, level, target, each));
    return `(${parts.join(test.kind === "and" ? " AND " : " OR ")})`;
  }
  const sight = sightOf(target, test.column);
  if (sight === undefined) throw new Error("a look-up by no column");
  // What the visit changes in the values moves with them.
  const before = analysis.edits.length;
  visit(analysis, level, test);
  const made = inOrder(analysis.edits.splice(before));
  const textOf = ({ start, end, node }: Given): string => {
    const inside = made.filter(({ at, end: until }) => at >= start && until <= end);
    const moved = inside.map((edit) => ({ ...edit, at: edit.at - start, end: edit.end - start }));
    const text = applyInOrder(Buffer.from(analysis.source.slice(start, end)), moved).toString("utf8");
    return nodeOf(node)[0] === "A_Expr" ? `(${text})` : text;
  };
  const isOwn = test.isWrapped || isComparedType(analysis.scope.catalog, sight.column.typeOid);
  const symbol = isOwn ? `OPERATOR(pg_catalog.${test.symbol})` : test.symbol;
  return test.sql(quoteIdentifier(sight.column.name), symbol, textOf);
}

/** Whether each way to fulfil it asks an indexed column for few values. */
function holdsSmall(analysis: Analysis, target: FromReference, test: Test): boolean {
  switch (test.kind) {
    case "and":
      return test.args.some((each) => holdsSmall(analysis, target, each));
    case "or":
      return test.args.every((each) => holdsSmall(analysis, target, each));
    case "comparison": {
      const isFew =
        isHidden(sightOf(target, test.column)) || (test.symbol === "=" && test.exact !== undefined);
      return isFew && isIndexed(analysis, target, columnName(target, test.column));
    }
  }
}
