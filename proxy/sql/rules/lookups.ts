import type { Node } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { choosingConditions } from "../bind/choosing.ts";
import { ownColumn } from "../bind/pins.ts";
import { isComparedType, isLeakproof } from "../comparisons.ts";
import { type Body, forEachChild, stringOf, visitNode } from "../parse/grammar.ts";
import type { ColumnSight, Sights } from "../sight.ts";
import type { Given } from "./given.ts";
import { type Comparison, comparisonsOf, MAXIMUM_VALUES, type Test, testOf } from "./lookup-forms.ts";
import { sightOf } from "./people.ts";

/*
 * Lookups by exact value: conditions that only test exact values of a column that the role does not see unmasked. Such
 * a condition moves as a whole into the subquery of its relation, where the real column is in scope and can use its
 * index; in its old position, each moved comparison is replaced by `true`. AND and OR of true conditions are true, so
 * no row is lost.
 */

export interface Lookup {
  readonly query: BoundQuery;
  /** The one reference whose columns are compared. */
  readonly reference: BoundRelation;
  /** A write's target has no subquery: the condition stays in its place, on the real column. */
  readonly isTarget: boolean;
  readonly test: Test;
  /** Those of its comparisons that are decided by hidden values. */
  readonly searches: readonly Search[];
}

export interface Search {
  readonly comparison: Comparison;
  readonly sight: ColumnSight;
}

/** All lookups of a statement; within a query in the order of its clauses: joins, then WHERE. */
export function lookupsOf(statement: BoundStatement, { sights, catalog }: Given): readonly Lookup[] {
  const view = { statement, sights, catalog };
  return statement.queries.flatMap((query) =>
    choosingConditions(statement, query).flatMap(({ node, of }) => lookupIn(view, query, node, of) ?? []),
  );
}

interface View extends Pick<Given, "sights" | "catalog"> {
  readonly statement: BoundStatement;
}

function lookupIn(
  view: View,
  query: BoundQuery,
  node: Node,
  of: ReadonlySet<BoundRelation>,
): Lookup | undefined {
  if (!namesFindable(view, node, of)) return undefined;
  const test = testOf(view.statement, node);
  const [first, ...more] = test === undefined ? [] : comparisonsOf(test);
  if (test === undefined || first === undefined) return undefined;
  const { relation: reference } = first.column;
  const isOfOne = of.has(reference) && more.every(({ column }) => column.relation === reference);
  if (!isOfOne || ![first, ...more].every((each) => mayMove(view, each))) return undefined;
  const searches = [first, ...more].flatMap((comparison): readonly Search[] => {
    const sight = columnSight(view.sights, comparison.column);
    return sight !== undefined && isHidden(sight) ? [{ comparison, sight }] : [];
  });
  const tries = searches.reduce((sum, { comparison }) => sum + (comparison.exact?.tries ?? 0), 0);
  if (tries > MAXIMUM_VALUES) return undefined;
  return { query, reference, isTarget: query.write?.target === reference, test, searches };
}

/** Checked first, because looking at constants restricts a verdict to this text. */
function namesFindable(
  { statement, sights }: View,
  condition: Node,
  of: ReadonlySet<BoundRelation>,
): boolean {
  let isNamed = false;
  const look = (type: string, body: Body): void => {
    const meaning = statement.meanings.get(body);
    if (meaning?.kind === "column") {
      const column = ownColumn(meaning.column);
      const sight = of.has(column.relation) ? columnSight(sights, column) : undefined;
      isNamed ||= sight !== undefined && isHidden(sight);
    } else if (type !== "SubLink" && !isNamed) forEachChild(type, body, look);
  };
  visitNode(condition, look);
  return isNamed;
}

/** How the role sees a table's own column. */
export function columnSight(sights: Sights, { relation, source }: BoundColumn): ColumnSight | undefined {
  if (source.kind !== "own") return undefined;
  const { name } = source.column;
  return sightOf(sights, relation)?.columns.find(({ column }) => column.name === name);
}

/** Masked, but searchable by exact value. */
function isHidden({ kind, findable }: ColumnSight): boolean {
  return findable && (kind === "masked" || kind === "conditional");
}

function mayMove(view: View, { column, exact, symbol, folds, calls }: Comparison): boolean {
  const { statement, catalog, sights } = view;
  const sight = columnSight(sights, column);
  if (sight === undefined || (folds.length > 0 && !isText(view, sight))) return false;
  if (calls.some(({ funcname = [] }) => hasNamesake(view, funcname.map(stringOf).at(-1) ?? ""))) return false;
  if (!isHidden(sight))
    return (
      sight.kind === "real" &&
      (isLeakproof(symbol) || isMatch(symbol)) &&
      isComparedType(catalog, sight.column.typeOid)
    );
  return exact !== undefined && !(isForLater(statement) && exact.asks.length > 0);
}

function isMatch(symbol: string): boolean {
  return symbol === "~~" || symbol === "~~*";
}

/** The values of its parameters are not visible at that time. */
function isForLater({ kind }: BoundStatement): boolean {
  return kind === "prepare" || kind === "declare";
}

/** Postgres's own types are cast to text by its own code, and so is citext. */
function isText({ catalog }: View, { column }: ColumnSight): boolean {
  const type = catalog.typesByOid.get(column.typeOid);
  return isComparedType(catalog, column.typeOid) || (type?.name === "citext" && type.plainInput);
}

function hasNamesake({ catalog }: View, name: string): boolean {
  return (catalog.functionsByName.get(name) ?? []).some(({ schema }) => schema !== "pg_catalog");
}
