import type { Catalog, Relation } from "../catalog/catalog.ts";

/** Whether an index begins with the column. A view's column uses the index of the column that it copies. */
export function hasIndex(catalog: Catalog, relation: Relation, column: string): boolean {
  const origin = relation.kind === "view" ? relation.lineage?.origins.get(column) : undefined;
  const base = origin && catalog.relationsByOid.get(origin.relation);
  const copied = base?.columns.find(({ number }) => number === origin?.column);
  if (base !== undefined && copied !== undefined) return hasIndex(catalog, base, copied.name);
  return (
    relation.primaryKey[0] === column ||
    relation.indexes.some(({ columns, partial }) => !partial && columns[0] === column)
  );
}

/** Whether a value of the column identifies one row. A view's column is as unique as the column that it copies. */
export function isKey(catalog: Catalog, relation: Relation, column: string): boolean {
  const origin = relation.kind === "view" ? relation.lineage?.origins.get(column) : undefined;
  const base = origin && catalog.relationsByOid.get(origin.relation);
  const copied = base?.columns.find(({ number }) => number === origin?.column);
  if (base !== undefined && copied !== undefined) return isKey(catalog, base, copied.name);
  const unique = relation.indexes.filter((index) => index.unique && !index.partial);
  return [relation.primaryKey, ...unique.map(({ columns }) => columns)].some(
    ([first, ...more]) => first === column && more.length === 0,
  );
}
