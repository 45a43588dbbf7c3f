import type { GroupingSet, Node, ResTarget } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundRelation } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { Sights } from "../sight.ts";
import type { ShownColumns } from "./base-columns.ts";
import type { NamedPerson } from "./named-people.ts";
import { sightOf } from "./people.ts";
import { namedReferences } from "./summary-clauses.ts";
import { isWrapped } from "./wrapped.ts";

/** Columns to group by in addition to the key of a reference. */
export interface KeyGrouping {
  readonly reference: BoundRelation;
  readonly columns: readonly string[];
}

/**
 * Grouping by a primary key allows the other columns to be named (Postgres docs, "GROUP BY"). A subquery has no key, so
 * the named columns of such a relation are added to the grouping. The groups stay the same.
 */
export function groupingsByKey(
  sights: Sights,
  shown: ShownColumns,
  query: BoundQuery,
): readonly KeyGrouping[] {
  const { group = [] } = query.clauses;
  if (query.form !== "select" || group.length === 0 || group.some(isGroupingSet)) return [];
  const grouped = group.map(namesIn).filter((names) => names !== undefined);
  let isNamed: ((name: string) => boolean) | undefined;
  return namedReferences(query).flatMap((reference): readonly KeyGrouping[] => {
    const sight = sightOf(sights, reference);
    if (sight === undefined || !isWrapped(shown, sight, reference)) return [];
    const { primaryKey } = sight.relation;
    if (primaryKey.length === 0) return [];
    const isGrouped = (own: string): boolean =>
      reference.columns.some(
        (column) => ownName(column) === own && grouped.some((names) => isNamedBy(column, names)),
      );
    if (!primaryKey.every(isGrouped)) return [];
    isNamed ??= namingOutside(query);
    const columns: string[] = [];
    for (const column of reference.columns) {
      const own = ownName(column);
      if (own !== undefined && !isGrouped(own) && isNamed(column.name)) columns.push(column.name);
    }
    return columns.length === 0 ? [] : [{ reference, columns }];
  });
}

/**
 * Whether all rows of a group are about one person, because the query groups by the column that identifies them or by the
 * key of their row. GROUP BY takes a name for a column of FROM before it takes it for an output's (Postgres docs, "SELECT",
 * GROUP BY). A position is not looked up.
 */
export function isGroupedByPerson(
  sights: Sights,
  { clauses: { group = [], targets = [] }, relations }: BoundQuery,
  { reference, by, exposed }: NamedPerson,
): boolean {
  if (group.some(isGroupingSet)) return false;
  const isColumn = (name: string) =>
    relations.some(({ columns }) => columns.some((column) => column.name === name));
  const grouped = group.flatMap((node): (readonly string[])[] => {
    const names = namesIn(node);
    if (names === undefined) return [];
    const [name = "", ...more] = names;
    return more.length === 0 && !isColumn(name) ? outputsNamed(targets, name) : [names];
  });
  const isGrouped = (isMeant: (column: BoundColumn) => boolean): boolean =>
    by.columns.some((column) => isMeant(column) && grouped.some((names) => isNamedBy(column, names)));
  const primaryKey = by === reference ? (sightOf(sights, reference)?.relation.primaryKey ?? []) : [];
  return (
    isGrouped(({ name }) => name === exposed) ||
    (primaryKey.length > 0 && primaryKey.every((own) => isGrouped((column) => ownName(column) === own)))
  );
}

/** The plain columns that outputs of this name show. */
function outputsNamed(targets: readonly Node[], name: string): (readonly string[])[] {
  return targets.flatMap((target) => {
    const { name: output, val } = nodeOf(target)[1] as ResTarget;
    const names = output === name && val !== undefined ? namesIn(val) : undefined;
    return names === undefined ? [] : [names];
  });
}

function isGroupingSet(node: Node): boolean {
  const [type, body] = nodeOf(node);
  return type === "GroupingSet" && (body as GroupingSet).kind !== undefined;
}

function ownName({ source }: BoundColumn): string | undefined {
  return source.kind === "own" ? source.column.name : undefined;
}

function isNamedBy({ name, relation }: BoundColumn, names: readonly string[]): boolean {
  const qualifier = names.at(-2);
  return names.at(-1) === name && (qualifier === undefined || qualifier === relation.alias);
}

/** Groups by a ColumnRef. */
function namesIn(node: Node): readonly string[] | undefined {
  const [type, body] = nodeOf(node);
  return type === "ColumnRef" ? ((body as { fields?: Node[] }).fields ?? []).map(stringOf) : undefined;
}

/** Returns whether an expression outside GROUP BY names the given column, or everything. */
function namingOutside({ clauses: { targets, having, sort } }: BoundQuery): (name: string) => boolean {
  const text = JSON.stringify([targets, having, sort]);
  const isAll = text.includes('"A_Star"');
  return (name) => isAll || text.includes(`"sval":${JSON.stringify(name)}`);
}
