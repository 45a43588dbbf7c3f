import type { Catalog, Column, Relation } from "../catalog/catalog.ts";
import type { SealedPath, TablePolicy } from "./policy.ts";
import type { Database } from "./rules/rule.ts";

/** Whether the column holds JSON documents: Postgres's own json or jsonb. */
export function holdsDocuments(catalog: Catalog, { typeOid, generatedFrom }: Column): boolean {
  const type = catalog.typesByOid.get(typeOid);
  const isDocument = type?.schema === "pg_catalog" && (type.name === "json" || type.name === "jsonb");
  return isDocument && generatedFrom === undefined;
}

const COMPARING: ReadonlySet<string> = new Set(["check", "exclusion", "policy", "partition key"]);

/** What works on the values of documents, and would work on tokens instead. */
export function checkDocuments(
  table: TablePolicy,
  relation: Relation,
  { policy, catalog, report }: Database,
): void {
  for (const name of table.documents.keys()) {
    const column = relation.columns.find((each) => each.name === name);
    if (column === undefined) continue;
    const tell = (severity: "error" | "warning", what: string, hint: string) =>
      report(
        severity,
        table.place,
        `${table.name}.${name} has values that are stored as tokens, ${what}`,
        hint,
      );
    if (relation.lineage !== undefined)
      tell(
        "error",
        "and it is a column of a view",
        'Name the column of the table under "json:": views follow it.',
      );
    else if (!holdsDocuments(catalog, column))
      tell(
        "error",
        `and its type ${column.type} is not json or jsonb`,
        'Make it jsonb, or name it under "columns:".',
      );
    if (column.default !== undefined && column.default !== "empty document")
      tell(
        column.default === "constant" ? "warning" : "error",
        "and its default is stored as it is",
        "If it has such values, drop it; '{}' and '[]' are fine.",
      );
    for (const parent of otherwiseSealed(table, name, relation, { policy, catalog }))
      tell(
        "error",
        `and not the same ones as those of ${parent}, through which its rows are written`,
        `Write the same paths under "json:" of both, or those of ${parent} alone: its children have them too.`,
      );
    for (const { kind, name: constraint, columns } of relation.constraints)
      if (columns.includes(name) && COMPARING.has(kind))
        tell(
          "warning",
          `and "${constraint}" will see tokens`,
          "A constraint on other parts of the document is fine.",
        );
    for (const { name: other, generatedFrom } of relation.columns)
      if (generatedFrom?.includes(column.number) === true)
        tell(
          "error",
          `and "${other}" is generated from it`,
          "Drop the generated column: it could be made of tokens. An index on an expression serves searches as well.",
        );
  }
}

/** Ancestors of the table that have the column, and by the policy other values in it that are stored as tokens. */
function otherwiseSealed(
  table: TablePolicy,
  column: string,
  relation: Relation,
  database: Pick<Database, "policy" | "catalog">,
): readonly string[] {
  return relation.parents.flatMap((oid): readonly string[] => {
    const parent = database.catalog.relationsByOid.get(oid);
    if (parent === undefined || parent.columns.every(({ name }) => name !== column)) return [];
    const name = `${parent.schema}.${parent.name}`;
    const sealed = database.policy.tables.get(name)?.documents.get(column);
    const isSame = sealed !== undefined && pathsText(sealed) === pathsText(table.documents.get(column) ?? []);
    return isSame ? [] : [name, ...otherwiseSealed(table, column, parent, database)];
  });
}

function pathsText(paths: readonly SealedPath[]): string {
  return paths
    .map((sealed) => JSON.stringify([sealed.steps, sealed.className]))
    .toSorted()
    .join();
}
