import { type Relation, relationKey } from "../catalog/catalog.ts";
import type { Scope } from "./scope.ts";
import { type ColumnSight, sightsOf } from "./sight.ts";
import { isOpenSystemRelation, isSystemSchema } from "./system-relations.ts";

/**
 * What is wrong with a result that has a plain copy of this column, as the server says (RowDescription of the protocol:
 * oid of the table or view, attribute number); undefined where the role sees it as it is. Masks are expressions, and
 * what an expression gives has no table: so a protected column that the server names itself has got past the rewrite.
 */
export function strayColumn(scope: Scope, table: number, column: number): string | undefined {
  const relation = scope.catalog.relationsByOid.get(table);
  if (relation === undefined) return `relation ${table}, which the catalog does not know`;
  const key = relationKey(relation.schema, relation.name);
  const columns = columnsSeen(scope, relation);
  if (columns === "none") return `${key}, which the role may not read`;
  if (columns === "all") return column > 0 && isUnknown(relation, column) ? unknown(key, column) : undefined;
  // What it holds is for the analysis to judge: the server only says that it is the row's place, or its age.
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
