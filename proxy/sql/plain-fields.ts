import { type Relation, relationKey } from "../catalog/catalog.ts";
import type { Scope } from "./scope.ts";
import { type ColumnSight, sightsOf } from "./sight.ts";
import { isOpenSystemRelation, isSystemSchema } from "./system-relations.ts";

/**
 * Checks a result field that the server describes as a plain copy of this column (RowDescription of the protocol: oid
 * of the table or view, attribute number). Returns undefined if the role sees the column unmasked, otherwise what is
 * wrong. Masks are expressions, and the result of an expression has no table: a protected column that the server itself
 * names has therefore bypassed the rewrite.
 */
export function strayColumn(scope: Scope, table: number, column: number): string | undefined {
  const relation = scope.catalog.relationsByOid.get(table);
  if (relation === undefined) return `relation ${table}, which the catalog does not know`;
  const key = relationKey(relation.schema, relation.name);
  const columns = columnsSeen(scope, relation);
  if (columns === "none") return `${key}, which the role may not read`;
  if (columns === "all") return column > 0 && isUnknown(relation, column) ? unknown(key, column) : undefined;
  // A system column: the server only reports the row's location or age. Whether it may be shown is decided by the
  // analysis.
  if (column < 0) return undefined;
  if (column === 0) return columns.every(isSeen) ? undefined : `a whole row of ${key}`;
  const sight =
    columns[column - 1]?.column.number === column ? columns[column - 1] : columns.find(numbered(column));
  if (sight === undefined) return unknown(key, column);
  return isSeen(sight) ? undefined : `${key}.${sight.column.name}`;
}

function columnsSeen(scope: Scope, relation: Relation): readonly ColumnSight[] | "all" | "none" {
  const sights = sightsOf(scope);
  if (!isSystemSchema(relation.schema)) {
    const sight = sights.of(relation);
    return sight.ok ? sight.sight.columns : "none";
  }
  const hidden = sights.ofSystem(relation);
  if (hidden !== undefined) return hidden.columns;
  return isOpenSystemRelation(relation.schema, relation.name) ? "all" : "none";
}

function isSeen({ kind }: ColumnSight): boolean {
  return kind === "real";
}

function numbered(number: number): (sight: ColumnSight) => boolean {
  return ({ column }) => column.number === number;
}

function isUnknown({ columns }: Relation, number: number): boolean {
  return !columns.some((column) => column.number === number);
}

function unknown(key: string, column: number): string {
  return `column ${column} of ${key}, which the catalog does not know`;
}
