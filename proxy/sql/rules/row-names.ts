import type { Catalog, Relation } from "../../catalog/catalog.ts";
import { perCatalog } from "../../catalog/per-catalog.ts";
import type { Policy } from "../../policy/policy.ts";
import { lineageOf } from "../sight.ts";
import type { Given } from "./given.ts";
import { familyOf } from "./person-paths.ts";
import { writtenInto } from "./written-tables.ts";

/*
 * What is written to a row is free for whoever was shown it by a key of one column (`rowNamed`). Users who could move another
 * person's row under that key for nothing would then give it away for nothing.
 */

/** Whether rows of people are named by this column, or have other names once it has another value. */
export function namesRows(given: Given, relation: Relation, column: string): boolean {
  const keys = keysIn(given.policy, given.catalog);
  return writtenInto(given.catalog, relation, [column]).some(({ base, names }) =>
    familyOf(given, base).some(({ oid }) => [...(keys.get(oid) ?? [])].some((key) => names.has(key))),
  );
}

/** By the oids of tables: columns from whose values the keys of people's rows come. */
const keysIn = perCatalog((policy: Policy, catalog): ReadonlyMap<number, ReadonlySet<string>> => {
  const lineage = lineageOf({ policy, catalog });
  const keys = new Map<number, Set<string>>();
  for (const { name, subject, columns } of policy.tables.values()) {
    const start = subject === undefined ? undefined : catalog.relations.get(name);
    if (start === undefined) continue;
    // Addresses change, and are no names for the rows of those who have them.
    for (const relation of lineage.takers(start))
      for (const [key, ...more] of relation.rowKeys)
        if (key !== undefined && more.length === 0 && !columns.has(key)) add(catalog, keys, relation, key);
  }
  return keys;
});

function add(catalog: Catalog, keys: Map<number, Set<string>>, relation: Relation, column: string): void {
  const known = keys.get(relation.oid) ?? new Set();
  if (known.has(column)) return;
  keys.set(relation.oid, known.add(column));
  const { generatedFrom = [] } = relation.columns.find(({ name }) => name === column) ?? {};
  for (const { number, name } of relation.columns)
    if (generatedFrom.includes(number)) add(catalog, keys, relation, name);
  for (const { columns, references, referencedColumns, changedByUpdate } of relation.foreignKeys) {
    const from = referencedColumns[columns.indexOf(column)];
    const target = catalog.relationsByOid.get(references);
    if (changedByUpdate === true && from !== undefined && target !== undefined)
      add(catalog, keys, target, from);
  }
}
