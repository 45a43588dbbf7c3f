import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import pg from "pg";
import { parse, stringify } from "yaml";
import { auditKeys } from "../../../proxy/audit/audit-keys.ts";
import { CONSTRAINTS, TABLES } from "../../../proxy/demo/demo-schema.ts";
import { startPostgres } from "../../../proxy/embedded/postgres.ts";
import { deriveKeys } from "../../../proxy/keys/secret.ts";
import { formatVerifier, makeVerifier } from "../../../proxy/wire/scram.ts";
import { formatUser } from "../../../proxy/wire/users-file.ts";
import { type RunningProgram, runSluice } from "../../../test/harness/program.ts";
import { launchRedis } from "../../../test/harness/redis-process.ts";
import { PEOPLE, rowsFor } from "./plan.ts";

/** One account for all people, which is counted, or judged by their role; or people who log in themselves. */
export type Account = "watched" | "web" | "own";

/** How a program reaches the desk. */
export interface DayWay {
  readonly name: string;
  readonly account: Account;
  readonly through: "session" | "pool";
}

export const WAYS: readonly DayWay[] = [
  { name: "watched", account: "watched", through: "session" },
  { name: "watched, pool", account: "watched", through: "pool" },
  { name: "acts_as", account: "web", through: "session" },
  { name: "acts_as, pool", account: "web", through: "pool" },
];

/** What the audit log has of a run. */
export interface Charges {
  /** Customers charged to each name. */
  readonly customers: ReadonlyMap<string, ReadonlySet<number>>;
  /** People charged without a name, and to whom. */
  readonly uncounted: ReadonlyMap<string, number>;
  /** What each used of the 1h window. */
  readonly used: ReadonlyMap<string, number>;
  readonly refusals: readonly string[];
}

export interface DayWorld {
  readonly serverVersion: string;
  /** Gives the desk its rows, with people of whom nothing was ever heard. */
  begin(isNumbered: boolean): Promise<readonly string[]>;
  directUri(user: string): string;
  uri(way: DayWay): string;
  /** As one of the people, with a login of their own. */
  ownUri(person: string): string;
  /** All that was charged since the last call. */
  charges(through: DayWay["through"], people: readonly string[]): Promise<Charges>;
  stop(): Promise<void>;
}

const HOST = "127.0.0.1";
const DATABASE = "desk";
const PASSWORD = "a-password";
const ADMIN = "dba";
const SOURCES = [
  { setting: "app.agent" },
  { setting: { name: "request.jwt.claims", path: "sub" } },
  { comment: "user" },
  { comment: "userID" },
  { role: true },
];

/** policies/support.yaml as it is, with an account that is watched beside the one that acts as its people. */
async function policyText(): Promise<string> {
  const policy = parse(await readFile(resolve("policies/support.yaml"), "utf8"));
  const { agent, web } = policy.roles;
  const { budget } = agent;
  policy.roles.web = { ...web, users: ["web"], people_behind: SOURCES };
  policy.roles.watched = {
    ...{ users: ["watched"], reads: "all", writes: "all", sees: "all", watch: true },
    ...{ budget: { "1h": budget["1h"].people }, people_behind: SOURCES, unnamed: { budget: { "1h": 50 } } },
  };
  return stringify({ ...policy, admins: [ADMIN], unknown_users: "agent" });
}

/** A server with the tables of the demo, and two proxies in front of it. `main`: the compiled program. */
export async function startDayWorld(main: string): Promise<DayWorld> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-day-"));
  await chmod(folder, 0o755);
  const server = await startPostgres({
    dataFolder: join(folder, "data"),
    superuser: "postgres",
    password: randomBytes(12).toString("hex"),
    settings: { fsync: "off", max_connections: "200" },
  });
  const first = await connect(server.uri);
  await first.query(`CREATE DATABASE ${DATABASE}`);
  await first.end();
  const upstream = new URL(server.uri);
  upstream.pathname = `/${DATABASE}`;
  const desk = await connect(upstream.href);
  await desk.query(`CREATE ROLE support_staff; CREATE ROLE reporting; CREATE ROLE helpdesk; ${TABLES}`);
  for (const constraint of CONSTRAINTS) await desk.query(constraint);
  await desk.query(`
    CREATE ROLE watched LOGIN PASSWORD '${PASSWORD}' IN ROLE helpdesk, support_staff;
    CREATE ROLE web LOGIN PASSWORD '${PASSWORD}' IN ROLE helpdesk, support_staff;
    CREATE ROLE ${ADMIN} LOGIN PASSWORD '${PASSWORD}';`);
  const redis = await launchRedis({});
  const key = randomBytes(32);
  const options = { policy: await policyText(), redis: redis.url, key: key.toString("hex") };
  const direct = (user: string, port = server.port) =>
    `postgresql://${user}:${PASSWORD}@${HOST}:${port}/${DATABASE}`;
  const session = await runSluice(main, { ...options, upstream: upstream.href });
  const control = ["--control", upstream.href];
  const pool = await runSluice(main, {
    ...options,
    upstream: direct("watched"),
    flags: [...(await poolFlags(folder)), ...control],
  });
  const proxies = { session, pool };
  const logs = { session: new LogReader(session, key), pool: new LogReader(pool, key) };
  const admins = { session: await connect(adminUri(session)), pool: await connect(adminUri(pool)) };
  const { rows } = await desk.query<{ version: string }>(
    "SELECT current_setting('server_version') AS version",
  );
  let runs = 0;
  return {
    serverVersion: rows[0]?.version ?? "?",
    async begin(isNumbered) {
      runs++;
      const names = ["anna", "ben", "cleo"].slice(0, PEOPLE);
      const people = names.map((name, at) => (isNumbered ? `${1000 * (at + 1) + runs}` : `${name}_${runs}`));
      for (const person of people)
        await desk.query(`
          CREATE ROLE "${person}" LOGIN PASSWORD '${PASSWORD}' IN ROLE support_staff;
          GRANT "${person}" TO watched, web;`);
      await desk.query(rowsFor(people));
      return people;
    },
    directUri: (user) => direct(user),
    uri: ({ account, through }) => direct(account, proxies[through].port),
    ownUri: (person) => direct(person, session.port),
    async charges(through, people) {
      const usage = await admins[through].query("SHOW BUDGETS");
      return { ...(await logs[through].read()), used: usedBy(people, usage.rows) };
    },
    async stop() {
      for (const client of [desk, ...Object.values(admins)]) await client.end();
      await Promise.all([session.close(), pool.close()]);
      await Promise.all([server.stop(), redis.stop()]);
      await rm(folder, { recursive: true, force: true });
    },
  };

  function adminUri({ port }: RunningProgram): string {
    return `postgresql://${ADMIN}:${PASSWORD}@${HOST}:${port}/sluice`;
  }
}

/** As docs/pooling.md says. */
async function poolFlags(folder: string): Promise<readonly string[]> {
  const users = join(folder, "users.txt");
  const verifier = formatVerifier(await makeVerifier(PASSWORD, 4096, randomBytes(16)));
  const lines = ["watched", "web", ADMIN].map((user) => `${formatUser(user, verifier)}\n`);
  await writeFile(users, lines.join(""), { mode: 0o600 });
  return ["--auth", "scram", "--users", users, "--pool", "transaction", "--pool-size", "2"];
}

function usedBy(
  people: readonly string[],
  rows: readonly Readonly<Record<string, unknown>>[],
): ReadonlyMap<string, number> {
  return new Map(
    rows
      .filter(
        ({ user, window, what }) => people.includes(String(user)) && window === "1h" && what === "people",
      )
      .map(({ user, used }) => [String(user), Number(used)]),
  );
}

interface Line {
  readonly actor?: { readonly user?: { readonly name?: string } };
  readonly status_code?: string;
  readonly query_info?: { readonly query_string?: string };
  readonly message?: string;
  readonly unmapped?: {
    readonly kind?: string;
    readonly people?: number;
    readonly subjects?: readonly string[];
    readonly uncounted?: boolean;
  };
}

/** Reads on in a proxy's log. */
class LogReader {
  readonly #folder: string;
  readonly #customers: ReadonlyMap<string, number>;
  #read = 0;

  constructor({ auditFolder }: RunningProgram, key: Buffer) {
    this.#folder = auditFolder;
    const keys = auditKeys(deriveKeys(key).audit);
    const ids = Array.from({ length: 1_000 }, (_, id) => id);
    this.#customers = new Map(ids.map((id) => [keys.hashSubject("public.customers.id", String(id)), id]));
  }

  async read(): Promise<Omit<Charges, "used">> {
    const files = (await readdir(this.#folder)).filter(
      (file) => file.endsWith(".jsonl") && /^audit/.test(file),
    );
    const texts = await Promise.all(files.sort().map((file) => readFile(join(this.#folder, file), "utf8")));
    const lines = texts.join("").split("\n").filter(Boolean);
    const fresh = lines.slice(this.#read).map((line) => JSON.parse(line) as Line);
    this.#read = lines.length;
    const customers = new Map<string, Set<number>>();
    const uncounted = new Map<string, number>();
    const refusals: string[] = [];
    for (const { actor, unmapped, query_info, status_code, message } of fresh) {
      const name = actor?.user?.name ?? "";
      if (unmapped?.kind !== "statement" && unmapped?.kind !== "rows") continue;
      const own = customers.get(name) ?? new Set();
      customers.set(name, own);
      for (const hash of unmapped.subjects ?? []) own.add(this.#customers.get(hash) ?? -1);
      const unnamed = (unmapped.people ?? 0) - (unmapped.subjects?.length ?? 0);
      if (unnamed > 0) {
        uncounted.set(name, (uncounted.get(name) ?? 0) + unnamed);
        refusals.push(`${name}: ${unnamed} without a name: ${query_info?.query_string}`);
      }
      if (status_code !== undefined && status_code !== "22012")
        refusals.push(`${name}: ${status_code} ${message ?? ""} ${query_info?.query_string}`);
    }
    return { customers, uncounted, refusals };
  }
}

async function connect(uri: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  return client;
}
