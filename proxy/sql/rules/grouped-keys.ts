import type { GroupingSet, Node } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundRelation } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { Sights } from "../sight.ts";
import type { ShownColumns } from "./columns.ts";
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
