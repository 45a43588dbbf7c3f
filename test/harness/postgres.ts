import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { inject } from "vitest";
import {
  type PostgresOptions,
  type RunningPostgres,
  startPostgres as start,
} from "../../proxy/embedded/postgres.ts";
import { freshData } from "./data-templates.ts";
import { findProgram } from "./debian.ts";
import { serverFolder, TEST_POSTGRES } from "./servers.ts";

export { pgbench, pgDump, psql, runProgram } from "./programs.ts";
export { createRoles, PASSWORDS, type SupportUser, supportSchema } from "./support-schema.ts";

export interface TestDatabase {
  /** The superuser's URI. */
  readonly uri: string;
  readonly database: string;
  readonly superuser: string;
  readonly host: string;
  readonly port: number;
  /**
   * Runs as the superuser, each call on the same connection. A text without parameters may contain several statements.
   */
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    sql: string,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
  /** The URI for another user of the same database. */
  uriFor(user: string, password?: string): string;
  /** Ends all its sessions and removes it. */
  drop(): Promise<void>;
}

/** The superuser's URI for the run's server: the database `postgres`. */
export function serverUri(): string {
  return inject("postgresUri");
}

/** An empty database on the run's server; `name` is only for recognising it. */
export async function freshDatabase(name = "test"): Promise<TestDatabase> {
  return databaseOn(serverUri(), name);
}

/** An empty database on any server, given its superuser's URI. */
export async function databaseOn(superuserUri: string, name: string): Promise<TestDatabase> {
  const database = `${name.replace(/[^a-z0-9]+/gi, "_").toLowerCase()}_${randomBytes(4).toString("hex")}`;
  await once(superuserUri, `CREATE DATABASE ${database} TEMPLATE template0`);
  const url = new URL(superuserUri);
  url.pathname = `/${database}`;
  const client = new pg.Client({ connectionString: url.href });
  // drop() ends the session; a failing query of a test reports its own error.
  client.on("error", () => undefined);
  await client.connect();
  return {
    uri: url.href,
    database,
    superuser: decodeURIComponent(url.username),
    host: url.hostname,
    port: Number(url.port || 5432),
    query: (sql, values) => (values === undefined ? client.query(sql) : client.query(sql, [...values])),
    uriFor(user, password) {
      const other = new URL(url);
      other.username = encodeURIComponent(user);
      other.password = encodeURIComponent(password ?? "");
      return other.href;
    },
    async drop() {
      await client.end();
      await once(superuserUri, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
    },
  };
}

/** A server of the test's own, which the test stops, or which needs another setup (TLS, login methods, version). */
export async function startPostgres(options: Partial<PostgresOptions> = {}): Promise<RunningPostgres> {
  const folder = await serverFolder();
  const all = {
    dataFolder: join(folder, "data"),
    ...TEST_POSTGRES,
    ...options,
    settings: { ...TEST_POSTGRES.settings, ...options.settings },
  };
  if (options.dataFolder === undefined) await freshData(all);
  const server = await start(all);
  return {
    ...server,
    async stop() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Debian's own Postgres (15 in Debian 12): an older server than npm's. */
export async function startDebianPostgres(
  options: Pick<Partial<PostgresOptions>, "auth"> = {},
): Promise<RunningPostgres> {
  const { path, environment } = await findProgram("postgres");
  return startPostgres({ ...options, binaries: join(path, ".."), environment });
}

async function once(uri: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
