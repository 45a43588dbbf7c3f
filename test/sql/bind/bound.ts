import pg from "pg";
import type { Catalog } from "../../../proxy/catalog/catalog.ts";
import { readCatalog } from "../../../proxy/catalog/snapshot.ts";
import { type BindResult, bindStatement } from "../../../proxy/sql/bind/bind-statement.ts";
import type { BoundColumn, BoundStatement } from "../../../proxy/sql/bind/bound.ts";
import { type Environment, nothingAbsent } from "../../../proxy/sql/bind/environment.ts";
import { parseText } from "../../../proxy/sql/parse/parse-text.ts";
import { freshDatabase, type TestDatabase } from "../../harness/postgres.ts";

/** A database and its catalog, in which statements are bound and described. */
export interface Bench {
  readonly database: TestDatabase;
  readonly client: pg.Client;
  readonly catalog: Catalog;
  readonly environment: Environment;
  close(): Promise<void>;
}

/** `setUp` creates the relations, in a session of its own. */
export async function openBench(setUp: (database: TestDatabase) => Promise<void>): Promise<Bench> {
  const database = await freshDatabase("bind");
  await setUp(database);
  const client = new pg.Client({ connectionString: database.uri });
  await client.connect();
  const catalog = await readCatalog(client);
  return {
    database,
    client,
    catalog,
    environment: { catalog, searchPath: ["public"], absent: nothingAbsent },
    async close() {
      await client.end();
      await database.drop();
    },
  };
}

/** Undefined if the text is not one statement that the parser accepts. */
export function bindText(sql: string, environment: Environment): BindResult | undefined {
  const parsed = parseText(sql);
  const [statement, ...more] = parsed.ok ? parsed.statements : [];
  return statement === undefined || more.length > 0 ? undefined : bindStatement(statement.node, environment);
}

/** Throws if the statement is not understood. */
export function bound(sql: string, environment: Environment): BoundStatement {
  const result = bindText(sql, environment);
  if (result?.ok !== true) throw new Error(`${result?.message ?? "not one statement"}: ${sql}`);
  return result.statement;
}

/** `customers.email`, sorted: the relation's own names, whatever they are called in the statement. */
export function namesOf(columns: Iterable<BoundColumn>): readonly string[] {
  return [...new Set([...columns].map(nameOf))].sort();
}

function nameOf({ relation, name, source }: BoundColumn): string {
  const table = relation.source.kind === "table" ? relation.source.relation.name : relation.alias;
  return `${table}.${source.kind === "own" ? source.column.name : name}`;
}
