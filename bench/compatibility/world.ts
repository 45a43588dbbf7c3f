import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { startPostgres } from "../../proxy/embedded/postgres.ts";
import { formatVerifier, makeVerifier } from "../../proxy/wire/scram.ts";
import { formatUser } from "../../proxy/wire/users-file.ts";
import { type RunningProgram, runSluice } from "../../test/harness/program.ts";
import { launchRedis } from "../../test/harness/redis-process.ts";
import { DATABASE, POLICY, ROWS, SCHEMA, TOKEN_DATABASE, USERS } from "./desk.ts";
import { startTokenDesk } from "./token-desk.ts";

/** How a client reaches the desk. */
export interface Way {
  readonly name: "direct" | "session" | "pool" | "agent-direct" | "agent" | "tokens";
  readonly uri: string;
}

export interface World {
  /** The application direct, in session mode, in the pool; an agent direct and guarded; the application on tokens. */
  readonly ways: Readonly<Record<Way["name"], Way>>;
  readonly serverVersion: string;
  /** Gives the desks the rows with which every run of a client begins. */
  renew(): Promise<void>;
  /** Values of the desk of tokens that are there in the clear. */
  clearValues(): Promise<readonly string[]>;
  stop(): Promise<void>;
}

const HOST = "127.0.0.1";
const SUPERUSER = "postgres";

/** A server with the desk, and two proxies in front of it. `main`: the compiled program. */
export async function startWorld(main: string): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-compatibility-"));
  await chmod(folder, 0o755);
  const server = await startPostgres({
    dataFolder: join(folder, "data"),
    superuser: SUPERUSER,
    password: randomBytes(12).toString("hex"),
    settings: { fsync: "off", max_connections: "200", max_prepared_transactions: "10" },
  });
  const owner = await connect(server.uri);
  for (const database of [DATABASE, TOKEN_DATABASE]) await owner.query(`CREATE DATABASE ${database}`);
  await owner.end();
  const uriOf = (database: string) => {
    const uri = new URL(server.uri);
    uri.pathname = `/${database}`;
    return uri;
  };
  const upstream = uriOf(DATABASE);
  const desk = await connect(upstream.href);
  await desk.query(SCHEMA);
  const redis = await launchRedis({});
  const options = {
    policy: POLICY,
    upstream: upstream.href,
    redis: redis.url,
    key: randomBytes(32).toString("hex"),
  };
  const session = await runSluice(main, options);
  const uri = (user: keyof typeof USERS, port: number, database = DATABASE) =>
    `postgresql://${user}:${USERS[user]}@${HOST}:${port}/${database}`;
  const tokens = await startTokenDesk(main, { ...options, upstream: uriOf(TOKEN_DATABASE).href }, folder);
  // The pool logs in as the application itself, so that the server grants it what it grants directly.
  const pool = await runSluice(main, {
    ...options,
    upstream: uri("app", server.port),
    flags: await poolFlags(folder),
  });
  const { rows } = await desk.query<{ version: string }>(
    "SELECT current_setting('server_version') AS version",
  );
  return {
    ways: {
      direct: { name: "direct", uri: uri("app", server.port) },
      session: { name: "session", uri: uri("app", session.port) },
      pool: { name: "pool", uri: uri("app", pool.port) },
      "agent-direct": { name: "agent-direct", uri: uri("anna", server.port) },
      agent: { name: "agent", uri: uri("anna", session.port) },
      tokens: { name: "tokens", uri: uri("app", tokens.port, TOKEN_DATABASE) },
    },
    serverVersion: rows[0]?.version ?? "?",
    async renew() {
      await desk.query(ROWS);
      await tokens.renew();
    },
    clearValues: () => tokens.clearValues(),
    async stop() {
      await desk.end();
      await tokens.close();
      await Promise.all([session, pool].map((program: RunningProgram) => program.close()));
      await Promise.all([server.stop(), redis.stop()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** As docs/pooling.md says. */
async function poolFlags(folder: string): Promise<readonly string[]> {
  const users = join(folder, "users.txt");
  const verifier = formatVerifier(await makeVerifier(USERS.app, 4096, randomBytes(16)));
  await writeFile(users, `${formatUser("app", verifier)}\n`, { mode: 0o600 });
  return ["--auth", "scram", "--users", users, "--pool", "transaction", "--pool-size", "5"];
}

async function connect(uri: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  return client;
}
