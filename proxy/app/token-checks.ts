import type { Catalog, Relation } from "../catalog/catalog.ts";
import { quoteIdentifier, quoteQualified } from "../pg/quote.ts";
import { checkAgainstCatalog } from "../policy/against-catalog.ts";
import type { Policy } from "../policy/policy.ts";
import { tokenLength } from "../tokens/sealed.ts";
import { isMarked, type TokenPlace } from "./token-column.ts";

export interface Obstacles {
  /** Why the column cannot be changed as it is. */
  readonly errors: readonly string[];
  /** What will see tokens from then on. */
  readonly warnings: readonly string[];
}

/** What stands in the way of turning a column, or has to be known before. */
export async function obstacles(place: TokenPlace, policy: Policy, catalog: Catalog): Promise<Obstacles> {
  const { relation, column, name } = place;
  const own = checkAgainstCatalog(policy, catalog).filter(({ message }) =>
    [`${column.name} is stored as tokens`, `${column.name} has values that are stored as tokens`].some(
      (start) => message.startsWith(start),
    ),
  );
  const errors = own.filter(({ severity }) => severity === "error").map(({ message }) => message);
  const warnings = own.filter(({ severity }) => severity !== "error").map(({ message }) => message);
  if (relation.kind !== "table" && relation.kind !== "partitioned")
    errors.push(`${column.name} is no column of a table`);
  if (relation.primaryKey.length === 0)
    errors.push("the table has no primary key, by which it could be gone through");
  if (relation.primaryKey.includes(name)) errors.push("the column is a part of the primary key");
  errors.push(...foreignKeys(relation, name, catalog));
  if (errors.length === 0) errors.push(...(await tooLong(place)));
  warnings.push(...(await dependants(place)));
  if (relation.hasRules)
    warnings.push("triggers, rules or policies of the table run for each row that is changed");
  return { errors, warnings };
}

function foreignKeys(relation: Relation, name: string, catalog: Catalog): readonly string[] {
  const refers = relation.foreignKeys
    .filter(({ columns }) => columns.includes(name))
    .map(
      ({ references }) => `it refers to ${keyOf(catalog.relationsByOid.get(references))} by a foreign key`,
    );
  const referred = [...catalog.relations.values()]
    .filter(({ foreignKeys }) =>
      foreignKeys.some(
        ({ references, referencedColumns }) =>
          references === relation.oid && referencedColumns.includes(name),
      ),
    )
    .map((other) => `${keyOf(other)} refers to it by a foreign key`);
  return [...refers, ...referred].map(
    (what) => `${what}: drop that, turn both columns (of one class with joinable: true), and add it again`,
  );
}

function keyOf(relation: Relation | undefined): string {
  return relation === undefined ? "another table" : `${relation.schema}.${relation.name}`;
}

async function tooLong({ database, relation, name, column }: TokenPlace): Promise<readonly string[]> {
  if (column.form === "document" || !isMarked(column)) return [];
  const room = /\((\d+)\)$/.exec(relation.columns.find((each) => each.name === name)?.type ?? "")?.[1];
  if (room === undefined) return [];
  const { rows } = await database.query(
    `SELECT pg_catalog.max(pg_catalog.octet_length(${quoteIdentifier(name)}::text)) AS longest FROM ${quoteQualified(relation.schema, relation.name)}`,
  );
  const longest = Number(rows[0]?.longest ?? 0);
  const needed = tokenLength(longest, column.form);
  return needed <= Number(room)
    ? []
    : [
        `its longest value has ${longest} bytes, whose token may take ${needed} characters, and the column has room for ${room}`,
      ];
}

/** The definition of an index that serves searches of tokens (blind-definitions.ts). */
const SEARCH_INDEX = "\\(split_part\\([^,]*, '[.]'::text, [0-9]+\\)|string_to_array\\(split_part";

/** Of those that serve searches of values inside of documents: a value at a constant path. */
const PATH_INDEX = (() => {
  const path = `\\(+("[^"]+"|[a-z0-9_]+)( (->|->>|#>|#>>) ('[^']*'::text(\\[\\])?|[0-9]+)\\)+)+`;
  return `USING [a-z]+ \\(${path}(, ${path})*\\)$`;
})();

/** Indexes on expressions of the column, or with a condition: the catalog of the proxy knows plain columns alone. */
async function dependants(place: TokenPlace): Promise<readonly string[]> {
  const pattern = place.column.form === "document" ? PATH_INDEX : SEARCH_INDEX;
  return (await expressionIndexes(place, "!~", pattern)).map(
    ({ name }) => `the index "${name}" is on an expression or has a condition: it will be made of tokens`,
  );
}

/** Unique indexes of searches: values have no such part, or many the same one. */
export async function standInWayOfRestore(place: TokenPlace): Promise<readonly string[]> {
  return (await expressionIndexes(place, "~", SEARCH_INDEX)).flatMap(({ name, isUnique }) =>
    isUnique
      ? [`the unique index "${name}" is on a part that tokens have and values do not: drop it before`]
      : [],
  );
}

interface ExpressionIndex {
  readonly name: string;
  readonly isUnique: boolean;
}

async function expressionIndexes(
  { database, relation, name }: TokenPlace,
  operator: "~" | "!~",
  pattern: string,
): Promise<readonly ExpressionIndex[]> {
  const number = relation.columns.find((column) => column.name === name)?.number;
  const { rows } = await database.query(
    `SELECT DISTINCT c.relname AS name, i.indisunique AS is_unique FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = i.indrelid AND d.refobjsubid = $2
      WHERE i.indrelid = $1 AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
        AND pg_catalog.pg_get_indexdef(i.indexrelid) OPERATOR(pg_catalog.${operator}) $3 ORDER BY 1`,
    [relation.oid, number, pattern],
  );
  return rows.map((row) => ({ name: String(row.name), isUnique: row.is_unique === true }));
}
