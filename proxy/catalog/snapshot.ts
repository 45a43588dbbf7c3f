import { createHash } from "node:crypto";
import type { Client } from "pg";
import { assembled } from "./assembled.ts";
import { buildRelations, type RelationRows } from "./build-relations.ts";
import { buildTypes, type MultirangeRow, type TypeRow } from "./build-types.ts";
import type { Catalog, CatalogCast, CatalogFunction, CatalogOperator } from "./catalog.ts";
import * as queries from "./queries.ts";
import { type DomainCodeRow, readDomainCode, readStoredCode } from "./stored-code.ts";
import { inSnapshot } from "./transaction.ts";
import { readLineages } from "./views.ts";

/** Reads the whole catalog of the client's database as of one moment. */
export async function readCatalog(client: Client): Promise<Catalog> {
  return inSnapshot(client, (transaction) => readCatalogIn(transaction));
}

/** The same, inside a transaction that `inSnapshot` opened. */
export async function readCatalogIn(client: Client): Promise<Catalog> {
  const reader = new CatalogReader(client);
  const identity = await reader.rows<IdentityRow>({
    name: "identity",
    text: "SELECT current_database(), current_setting('server_version_num')::int4",
  });
  const [database, serverVersion] = identity[0] ?? ["", 0];
  const schemas = new Map(await reader.rows<SchemaRow>(queries.SCHEMAS));
  const operators = await reader.rows<OperatorRow>(queries.OPERATORS);
  const rows: RelationRows = {
    relations: await reader.rows(queries.RELATIONS),
    columns: await reader.rows(queries.COLUMNS),
    indexes: await reader.rows(queries.INDEXES),
    constraints: await reader.rows(queries.CONSTRAINTS),
    defaults: await reader.rows(queries.DEFAULTS),
    generated: await reader.rows(queries.GENERATED_COLUMNS),
    foreignKeys: await reader.rows(queries.FOREIGN_KEYS),
    parents: await reader.rows(queries.PARENTS),
    storedCode: await reader.rows(queries.STORED_CODE),
    views: await reader.rows(queries.VIEWS),
    viewDependencies: await reader.rows(queries.VIEW_DEPENDENCIES),
  };
  const functions = (await reader.rows<FunctionRow>(queries.FUNCTIONS)).map((row) =>
    toFunction(row, schemas),
  );
  const typeRows = await reader.rows<TypeRow>(queries.TYPES);
  const multiranges = serverVersion >= 140_000 ? await reader.rows<MultirangeRow>(queries.MULTIRANGES) : [];
  const operatorFunctions = new Map(operators.map(([oid, , , code]) => [oid, code]));
  const domains = await reader.rows<DomainCodeRow>(queries.DOMAIN_CODE);
  const types = buildTypes(typeRows, multiranges, schemas, readDomainCode(domains, operatorFunctions));
  const casts = await reader.rows<CastRow>(queries.CASTS);
  const lineages = await readLineages(rows, operatorFunctions);
  return assembled({
    database,
    serverVersion,
    version: reader.version(),
    schemas: new Set(schemas.values()),
    relations: buildRelations(
      rows,
      schemas,
      lineages,
      equalities(operators, schemas),
      readStoredCode(rows.storedCode, operatorFunctions),
    ),
    casts: casts.map(([source, target, code, context]) => ({
      source,
      target,
      function: code,
      context: CAST_CONTEXTS.get(context) ?? "implicit",
    })),
    functions,
    operatorsOutside: operatorsOutside(operators, schemas),
    types,
  });
}

type IdentityRow = readonly [database: string, serverVersion: number];
type SchemaRow = readonly [oid: number, name: string];
type OperatorRow = readonly [oid: number, schema: number, name: string, code: number];
type CastRow = readonly [source: number, target: number, code: number, context: string];
type FunctionRow = readonly [
  oid: number,
  schema: number,
  name: string,
  kind: string,
  volatility: string,
  language: string,
  argumentTypes: string,
  returnType: number,
  returnsSet: boolean,
  extension: string | null,
  defaults: number,
  variadic: boolean,
  modes: string | null,
  allTypes: string | null,
  names: readonly string[] | null,
];

/**
 * Runs the queries and hashes their results. Rows come in a fixed order, so two snapshots of the same catalog have the
 * same version in every proxy.
 */
class CatalogReader {
  readonly #client: Client;
  readonly #hash = createHash("sha256");

  constructor(client: Client) {
    this.#client = client;
  }

  async rows<Row extends readonly unknown[]>({ name, text }: queries.CatalogQuery): Promise<readonly Row[]> {
    const { rows } = await this.#client.query<Row & unknown[]>({ text, rowMode: "array" });
    this.#hash.update(name);
    for (const row of rows) this.#hash.update(JSON.stringify(row));
    return rows;
  }

  version(): string {
    return this.#hash.digest("hex").slice(0, 24);
  }
}

/** pg_cast.castcontext. Values that newer servers may add are treated as the widest. */
const CAST_CONTEXTS: ReadonlyMap<string, CatalogCast["context"]> = new Map([
  ["e", "explicit"],
  ["a", "assignment"],
  ["i", "implicit"],
]);

/** Postgres's own `=` and `<>` for all types. */
function equalities(rows: readonly OperatorRow[], schemas: ReadonlyMap<number, string>): ReadonlySet<number> {
  return new Set(
    rows.flatMap(([oid, schema, name]) =>
      schemas.get(schema) === "pg_catalog" && (name === "=" || name === "<>") ? [oid] : [],
    ),
  );
}

function operatorsOutside(
  rows: readonly OperatorRow[],
  schemas: ReadonlyMap<number, string>,
): readonly CatalogOperator[] {
  return rows
    .map(([, schema, name, code]) => ({ schema: schemas.get(schema) ?? "", name, function: code }))
    .filter(({ schema }) => schema !== "pg_catalog");
}

function toFunction(row: FunctionRow, schemas: ReadonlyMap<number, string>): CatalogFunction {
  const [oid, schema, name, kind, volatility, language, argumentTypes, returnType, returnsSet] = row;
  const [extension, defaults, variadic] = row.slice(9) as [string | null, number, boolean];
  const outputs = outputsOf(row);
  return {
    oid,
    schema: schemas.get(schema) ?? "",
    name,
    kind: FUNCTION_KINDS.get(kind) ?? "procedure",
    volatility: VOLATILITIES.get(volatility) ?? "volatile",
    language,
    argumentTypes: argumentTypes === "" ? [] : argumentTypes.split(" ").map(Number),
    returnType,
    returnsSet,
    ...(extension !== null && { extension }),
    ...(defaults > 0 && { defaults }),
    ...(variadic && { variadic }),
    ...(outputs !== undefined && { outputs }),
  };
}

/** pg_proc.proargmodes is NULL if all arguments are plain input; o, b and t are OUT, INOUT and TABLE. */
function outputsOf(row: FunctionRow): CatalogFunction["outputs"] {
  const [modes, types, names] = row.slice(12) as [string | null, string | null, readonly string[] | null];
  if (modes === null || types === null) return undefined;
  const typeOids = types.split(" ").map(Number);
  return modes
    .split(" ")
    .flatMap((mode, index) =>
      "obt".includes(mode) ? [{ name: names?.[index] ?? "", typeOid: typeOids[index] ?? 0 }] : [],
    );
}

/** pg_proc.prokind. Values that newer servers may add are treated as procedures, which no expression can call. */
const FUNCTION_KINDS: ReadonlyMap<string, CatalogFunction["kind"]> = new Map([
  ["f", "function"],
  ["a", "aggregate"],
  ["w", "window"],
  ["p", "procedure"],
]);

/** pg_proc.provolatile. */
const VOLATILITIES: ReadonlyMap<string, CatalogFunction["volatility"]> = new Map([
  ["i", "immutable"],
  ["s", "stable"],
  ["v", "volatile"],
]);
