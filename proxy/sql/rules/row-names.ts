import type { CopyStmt, RangeVar, ResTarget, UpdateStmt } from "libpg-query";
import { type Catalog, type Relation, relationsNamed } from "../../catalog/catalog.ts";
import { perCatalog } from "../../catalog/per-catalog.ts";
import type { Policy } from "../../policy/policy.ts";
import { type Body, nodeOf } from "../parse/grammar.ts";
import { forEachObject } from "../parse/tree.ts";
import type { Scope } from "../scope.ts";
import { lineageOf } from "../sight.ts";
import { familyOf } from "./person-paths.ts";
import type { Columns } from "./write-findings.ts";
import { withGenerated, writtenInto } from "./written-tables.ts";

/*
 * What is written to a row is free for whoever was shown it by a key of one column (`rowNamed`). Users who could move another
 * person's row under that key for nothing would then give it away for nothing.
 */

/** Whether rows of people are named by this column, or have other names once it has another value. */
export function namesRows(scope: PolicyOfTables, relation: Relation, column: string): boolean {
  return keysWritten(scope, relation, [column]).length > 0;
}

type PolicyOfTables = Pick<Scope, "policy" | "catalog">;

/** The names of rows that a write of these columns gives. */
function keysWritten(scope: PolicyOfTables, relation: Relation, columns: Columns): readonly string[] {
  const keys = keysIn(scope.policy, scope.catalog);
  return writtenInto(scope.catalog, relation, columns)
    .map(withGenerated)
    .flatMap(({ base, names }) =>
      familyOf(scope, base).flatMap((each) =>
        [...(keys.get(each.oid) ?? [])].filter((key) => names.has(key)).map((key) => rowsBy(each, key)),
      ),
    );
}

/** The name space of rows by a key of one column. Names could be given to other tables and columns meanwhile. */
export function rowsBy({ oid, columns }: Relation, key: string): string {
  return `row of ${oid} by ${columns.find(({ name }) => name === key)?.number}`;
}

/** In place of a name space: those of a relation that is not known. */
export const ANY_ROWS = "rows of any table";

/**
 * The name spaces in which a statement may give a key to a row. If another row had it before, a rollback gives it back: until
 * then it does not name what is in the table.
 */
export function keysGiven(type: string, body: Body, scope: PolicyOfTables): readonly string[] {
  const found = new Set<string>();
  const add = (named: RangeVar | undefined, columns: Columns) => {
    const meant = relationsNamed(scope.catalog, named ?? {});
    if (meant.length === 0) found.add(ANY_ROWS);
    for (const relation of meant) for (const key of keysWritten(scope, relation, columns)) found.add(key);
  };
  const look = (field: string, object: object): void => {
    if (field === "A_Const") return;
    const { relation, targetList = [], is_from } = object as CopyStmt & UpdateStmt;
    if (field === "ExecuteStmt") found.add(ANY_ROWS);
    if (field === "UpdateStmt")
      add(
        relation,
        targetList.map((item) => (nodeOf(item)[1] as ResTarget).name ?? ""),
      );
    if (INSERTS.has(field) || is_from === true) add(relation, undefined);
    forEachObject(object, look);
  };
  look(type, body);
  return [...found];
}

const INSERTS: ReadonlySet<string> = new Set(["InsertStmt", "MergeStmt"]);

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
