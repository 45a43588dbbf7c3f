import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { type RunningPostgres, startPostgres } from "../proxy/embedded/postgres.ts";
import { launchRedis, type RedisServer } from "../test/harness/redis-process.ts";

export const DATABASE = "bench";

/** app sees everything; guarded is masked, limited and counted; masked is masked, and whom it reads is logged; narrow is counted, and has few bytes; watched sees everything and is counted. */
export const USERS = ["app", "guarded", "masked", "narrow", "watched"] as const;

/** Limits and budgets hold everywhere and are never reached: their price is wanted. */
export const POLICY = `
version: 1
classes:
  # Masks that cost the server little, so that the proxy's own part shows.
  name:  { mask: { first: 1 } }
  email: { mask: { last: 4 } }
  text:  { mask: redact }
tables:
  public.pgbench_accounts:
    subject: aid
    columns: { filler: text }
  public.people:
    subject: id
    columns: { name: name, email: email }
  # The same rows, and of nobody: what is read is masked, and no person stands in the audit log.
  public.records:
    columns: { name: name, email: email }
roles:
  app:
    users: [app]
    reads: all
    writes: all
    sees: all
    budget: none
  guarded:
    users: [guarded]
    reads: all
    rows: 100000000
    bytes: 1000GB
    budget: { 1h: 100000000, 1d: 100000000 }
  narrow:
    users: [narrow]
    reads: all
    bytes: 1MB
    budget: { 1d: 100000000 }
  watched:
    users: [watched]
    reads: all
    writes: all
    sees: all
    watch: true
    budget: { 1d: 100000000 }
  masked:
    users: [masked]
    reads: all
    budget: none
`;

/** The accounts of pgbench at scale 1. */
export const ACCOUNTS = 100_000;
/** So few that after a moment everybody has been counted and every text been seen. */
export const FEW = 1_000;

/** A server with the tables of pgbench and one of many rows, a Redis beside it, and a folder for files. */
export interface World {
  readonly postgres: RunningPostgres;
  readonly redis: RedisServer;
  readonly folder: string;
  /** Of the superuser, in the database of the bench. */
  readonly control: string;
  stop(): Promise<void>;
}

/** `people`: rows of the table that bulk reads go over. */
export async function startWorld(people: number): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-bench-"));
  // PgBouncer and the server run as another user.
  await chmod(folder, 0o755);
  const postgres = await startPostgres({
    dataFolder: join(folder, "data"),
    superuser: "postgres",
    auth: "trust",
    settings: { fsync: "off", max_connections: "700", shared_buffers: "512MB", max_wal_size: "4GB" },
  });
  const redis = await launchRedis({});
  const control = new URL(postgres.uri);
  control.pathname = `/${DATABASE}`;
  await execute(postgres.uri, `CREATE DATABASE ${DATABASE}`);
  await execute(control.href, tables(people));
  await execute(control.href, "VACUUM ANALYZE");
  return {
    postgres,
    redis,
    folder,
    control: control.href,
    async stop() {
      await Promise.all([postgres.stop(), redis.stop()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function tables(people: number): string {
  return `
    ${USERS.map((user) => `CREATE ROLE ${user} LOGIN;`).join("\n")}
    CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
    INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, ${ACCOUNTS}) n;
    CREATE TABLE people (id bigint PRIMARY KEY, name text, email text, phone text, country text, created_at timestamptz);
    INSERT INTO people SELECT n, 'Alice Ng ' || n, 'alice.ng.' || n || '@example.com', '+1 555 01' || n % 100, 'DE',
      timestamptz '2024-01-01' + n * interval '1 minute' FROM generate_series(1, ${people}) n;
    CREATE TABLE records AS TABLE people;
    CREATE TABLE scribble (a int, b int, c text);
    GRANT INSERT ON scribble TO app;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${USERS.join(", ")};`;
}

async function execute(uri: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
