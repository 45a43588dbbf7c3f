import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { type RunningPostgres, startPostgres } from "./postgres.ts";

/** A server for databases without rows; nothing of it is kept. */
export interface ScratchServer {
  /** URI of the user who owns the databases and is not a superuser. */
  readonly uri: string;
  /** Creates a database from this SQL, replacing an earlier one of the same name. */
  make(database: string, sql: string): Promise<void>;
  stop(): Promise<void>;
}

const OWNER = "sluice_scratch_owner";

export async function startScratch(): Promise<ScratchServer> {
  const folder = await mkdtemp(join(tmpdir(), `sluice-scratch-${process.pid}-`));
  const secret = () => randomBytes(24).toString("hex");
  const server = await startIn(folder, secret()).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true });
    throw error;
  });
  const uri = new URL(server.uri);
  uri.username = OWNER;
  uri.password = secret();
  await query(server.uri, "postgres", () => `CREATE ROLE ${OWNER} LOGIN PASSWORD '${uri.password}'`);
  return {
    uri: uri.href,
    async make(database, sql) {
      const named = (client: Client) => client.escapeIdentifier(database);
      await query(
        server.uri,
        "template1",
        (client) => `DROP DATABASE IF EXISTS ${named(client)} WITH (FORCE)`,
      );
      const options = `OWNER ${OWNER} TEMPLATE template0`;
      await query(server.uri, "template1", (client) => `CREATE DATABASE ${named(client)} ${options}`);
      // A superuser's SQL could run programs on this machine, and the SQL may come from anyone.
      await query(uri.href, database, () => sql);
    },
    async stop() {
      await server.stop();
      for (const path of [folder, server.dataFolder]) await rm(path, { recursive: true, force: true });
    },
  };
}

async function startIn(folder: string, password: string): Promise<RunningPostgres> {
  // The server's own user must be able to pass through.
  await chmod(folder, 0o711);
  const settings = { fsync: "off", autovacuum: "off" };
  return startPostgres({ dataFolder: join(folder, "data"), superuser: "sluice_scratch", password, settings });
}

async function query(uri: string, database: string, sql: (client: Client) => string): Promise<void> {
  const { hostname: host, port, username: user, password } = new URL(uri);
  const client = new Client({
    host,
    port: Number(port),
    user,
    password,
    database,
    statement_timeout: 60_000,
  });
  // For errors in addition to the answer, if the server is stopped in between.
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query(sql(client));
  } finally {
    await client.end();
  }
}
