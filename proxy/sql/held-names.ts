import type { ColumnRef, Node, ResTarget, SelectStmt, SortBy } from "libpg-query";
import {
  type Analysis,
  type FromReference,
  type Level,
  namedReferences,
  type RelationUse,
} from "./analysis.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import type { RelationSight } from "./sight.ts";
import { quoteIdentifier } from "./source.ts";

/*
 * The target of a write is no subquery: its real values are in scope, behind whatever is nearer. What is nearer is known
 * from the last look at the catalog. When a column there is dropped, before the statement runs or while it is prepared
 * (the server reads its text again then), its name alone would go on to mean the target's. So in such statements
 * a name is held to its relation: without the column it is an error.
 */

/** Whether the statement writes a relation of which the role does not see all. */
export function writesHidden({ uses }: Analysis): boolean {
  return uses.some((use) => use.isTarget && hides(use));
}

/**
 * Holds true, and is an error where one of the columns that the subquery reads is gone; it costs no execution. Of a mask
 * that does not read its column there is nothing to hold.
 */
export function columnsAreThere(
  { relation, columns, filter = "" }: RelationSight,
  conditions: readonly string[],
): string {
  const table = quoteIdentifier(relation.name);
  const read = [...columns.map(({ sql }) => sql), filter, ...conditions].join(" ");
  const named = columns
    .filter(({ kind, column }) => kind !== "absent" && read.includes(column.name))
    .map(({ column }) => `${table}.${quoteIdentifier(column.name)}`);
  return `(true OR ROW(${named.join(", ")}) IS NULL)`;
}

/** Writes the relation before a column's name, where the name alone could come to mean a hidden value. */
export function holdName(analysis: Analysis, body: ColumnRef, level: Level, name: string): void {
  const holders = holdersInFront(level, name);
  if (holders === undefined || holders.some(isCertain)) return;
  const isOutput = analysis.outputNames.get(body);
  if (isOutput === "surely") return;
  const { source } = analysis;
  const place = body.location;
  if (place === undefined || source.nameParts(source.tokenAt(place)).length > 1) return;
  const [holder, ...others] = holders;
  const isMeant = others.length === 0 && isOutput === undefined;
  if (holder === undefined || !isMeant || namedReferences(level, holder.alias)[0] !== holder) {
    analysis.refuse("42501", `"${name}" may come to mean a column of what is written`, {
      hint: "Write the table's name or alias before it.",
    });
  }
  analysis.edit(place, place, `${quoteIdentifier(holder.alias)}.`, { kind: "column", location: place });
}

/** Of the level that has the name; undefined where no level further out has hidden values of that name. */
function holdersInFront(level: Level, name: string): readonly FromReference[] | undefined {
  let holders: readonly FromReference[] | undefined;
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) {
    if (holders !== undefined && at.references.some((reference) => wouldGive(reference, name)))
      return holders;
    if (holders !== undefined) continue;
    const here = at.references.filter(({ columns }) => columns?.has(name) === true);
    if (here.length > 0) holders = here;
  }
  return undefined;
}

/** A column that is not seen as it is, or the whole row. */
function wouldGive({ alias, columns, use }: FromReference, name: string): boolean {
  if (use?.isTarget !== true || !hides(use)) return false;
  const own = columns?.get(name);
  return (
    alias === name ||
    use.sight?.columns.some(({ kind, column }) => kind !== "real" && column.name === own) === true
  );
}

function hides({ sight }: RelationUse): boolean {
  return sight?.columns.some(({ kind }) => kind !== "real") === true;
}

/** A subquery, the client's or ours, has the columns that its text says. */
function isCertain({ use }: FromReference): boolean {
  return use === undefined || (use.sight?.guarded === true && !use.isTarget);
}

/**
 * Notes the names in ORDER BY and DISTINCT ON that mean an output column, or may: that comes before any input column
 * there (Postgres docs, "ORDER BY Clause"), and is in the text.
 */
export function noteOutputNames(
  analysis: Analysis,
  { targetList = [], sortClause = [], distinctClause = [] }: SelectStmt,
): void {
  if (!writesHidden(analysis)) return;
  const targets = targetList.map((node) => nodeOf(node)[1] as ResTarget);
  for (const node of [...sortClause, ...distinctClause]) {
    const value = itemValue(node);
    const [type, body] = value === undefined ? [] : nodeOf(value);
    const [field, ...more] = type === "ColumnRef" ? ((body as ColumnRef).fields ?? []) : [];
    if (field === undefined || more.length > 0) continue;
    const name = stringOf(field);
    if (targets.some((target) => target.name === name)) analysis.outputNames.set(body as ColumnRef, "surely");
    else if (targets.some((target) => mayTakeName(target, name)))
      analysis.outputNames.set(body as ColumnRef, "perhaps");
  }
}

/** Casts, CASE and subqueries are called by what is in them (FigureColname of parser/parse_target.c). */
function mayTakeName({ name, val }: ResTarget, column: string): boolean {
  if (name !== undefined || val === undefined || nodeOf(val)[0] === "ColumnRef") return false;
  return JSON.stringify(val).includes(`"sval":${JSON.stringify(column)}`);
}

/** DISTINCT without ON is an empty node. */
function itemValue(node: Node): Node | undefined {
  if (Object.keys(node).length === 0) return undefined;
  const [type, body] = nodeOf(node);
  return type === "SortBy" ? (body as SortBy).node : node;
}
