import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { type RunningPostgres, startPostgres } from "./postgres.ts";

/** A server for databases without rows, of which nothing is kept. */
export interface ScratchServer {
  /** Of the user who owns the databases, and is no superuser. */
  readonly uri: string;
  /** Makes a database of this SQL, in place of an earlier one of the same name. */
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
      // A superuser's SQL could run programs on this machine, and the SQL may come from anybody.
      await query(uri.href, database, () => sql);
    },
    async stop() {
      await server.stop();
      for (const path of [folder, server.dataFolder]) await rm(path, { recursive: true, force: true });
    },
  };
}

async function startIn(folder: string, password: string): Promise<RunningPostgres> {
  // The server's own user has to get through.
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
  // What comes beside the answer, when the server is stopped under way.
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query(sql(client));
  } finally {
    await client.end();
  }
}
