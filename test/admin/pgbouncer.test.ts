import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { findServant } from "../../proxy/embedded/binaries.ts";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { findProgram } from "../harness/debian.ts";
import {
  freshDatabase,
  PASSWORDS,
  psql,
  runProgram,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { endTied, readyTied, spawnTied } from "../harness/tied.ts";

const POLICY = `version: 1
tables: { public.customers: { subject: id } }
roles:
  agent: { users: [anna], reads: [public.customers], budget: { 1d: 100 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
admins: [cleo]
auditors: [metabase]
`;

/** Of pgbouncer 1.18 (Debian 12), beside Sluice: what its users have written reads both. */
interface PgBouncer {
  readonly uri: string;
  close(): Promise<void>;
}

let database: TestDatabase;
let sluice: TestSluice;
let bouncer: PgBouncer;
/** Kept open, so that there is something to see. */
let clients: readonly pg.Client[] = [];

beforeAll(async () => {
  database = await freshDatabase("beside_pgbouncer");
  await supportSchema(database.uri);
  [sluice, bouncer] = await Promise.all([
    startSluice({ policy: POLICY, upstream: database.uri }),
    startPgBouncer(database),
  ]);
  const through = new URL(bouncer.uri);
  through.pathname = database.database;
  through.username = "postgres";
  clients = [sluice.uriFor("helpdesk_app", PASSWORDS.helpdesk_app), through.href].map(connectionTo);
  await Promise.all(clients.map((client) => client.connect()));
  await Promise.all(clients.map((client) => client.query("select 1")));
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.end()));
  await Promise.all([sluice?.close(), bouncer?.close()]);
  await database?.drop();
});

function connectionTo(connectionString: string): pg.Client {
  const client = new pg.Client({ connectionString });
  client.on("error", () => {});
  return client;
}

async function startPgBouncer({ host, port, superuser, uri }: TestDatabase): Promise<PgBouncer> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-pgbouncer-"));
  const own = await freePort();
  const settings = join(folder, "pgbouncer.ini");
  await writeFile(join(folder, "users"), `"cleo" ""\n"metabase" ""\n"postgres" ""\n`);
  await writeFile(
    settings,
    `[databases]
* = host=${host} port=${port} user=${superuser} password=${decodeURIComponent(new URL(uri).password)}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
unix_socket_dir =
auth_type = trust
auth_file = ${join(folder, "users")}
admin_users = cleo
stats_users = metabase
`,
  );
  // It does not run as root.
  const servant = await findServant();
  await chmod(folder, 0o755);
  if (servant !== undefined) await chown(folder, servant.uid, servant.gid);
  const program = await findProgram("pgbouncer");
  const asServant = servant === undefined ? [] : ["-u", "nobody"];
  const child = spawnTied(program, [...asServant, settings]);
  await readyTied(child, "process up");
  return {
    uri: `postgresql://cleo@127.0.0.1:${own}/pgbouncer`,
    async close() {
      await endTied(child, "SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function adminUri(name: "sluice" | "pgbouncer", user: keyof typeof PASSWORDS = "cleo"): string {
  const url = new URL(sluice.uriFor(user, PASSWORDS[user]));
  url.pathname = name;
  return url.href;
}

async function show(uri: string, what: string) {
  const client = connectionTo(uri);
  await client.connect();
  onTestFinished(() => client.end());
  return client.query(`SHOW ${what};`);
}

const SHOWN = [
  ...["CLIENTS", "SERVERS", "POOLS", "DATABASES", "USERS", "LISTS", "CONFIG", "VERSION"],
  ...["STATS", "STATS_TOTALS", "STATS_AVERAGES", "TOTALS", "MEM", "DNS_HOSTS"],
];

test.each(SHOWN)("SHOW %s has the columns of pgbouncer itself, in its types", async (what) => {
  const [ours, theirs] = [await show(adminUri("pgbouncer"), what), await show(bouncer.uri, what)];
  const shape = ({ fields }: pg.QueryResult) =>
    fields.map((field) => [field.name, field.dataTypeID, field.dataTypeSize]);
  expect(shape(ours)).toEqual(shape(theirs));
  // Scripts look for the names in the first column.
  if (what === "LISTS" || what === "TOTALS") {
    const names = ({ rows }: pg.QueryResult) => rows.map((row) => Object.values(row)[0]);
    expect(names(ours)).toEqual(names(theirs));
  }
});

test.each(["pgb_pool_cl_active", "pgb_pool_sv_active", "pgb_pool_maxwait", "pgbouncer_backends"])(
  "check_postgres' %s is content with both",
  async (action) => {
    const limits = action === "pgbouncer_backends" ? ["90%", "95%"] : ["50", "90"];
    const places = [adminUri("pgbouncer"), bouncer.uri];
    const results = await Promise.all(places.map((uri) => check(action, limits, uri)));
    for (const { stdout, code } of results) {
      expect(stdout).toMatch(new RegExp(`^POSTGRES_${action.toUpperCase()} OK: DB "pgbouncer"`));
      expect(code).toBe(0);
    }
    if (action === "pgb_pool_cl_active") expect(results[0]?.stdout).toContain(`${database.database}=1`);
    if (action === "pgbouncer_backends") expect(results[0]?.stdout).toContain("1 of 1000 connections");
  },
);

test("check_postgres warns of a pool that is over its limit", async () => {
  const { stdout, code } = await check("pgb_pool_cl_active", ["1", "5"], adminUri("sluice", "metabase"));
  expect(stdout).toMatch(/^POSTGRES_PGB_POOL_CL_ACTIVE WARNING/);
  expect(code).toBe(1);
});

async function check(action: string, [warning = "", critical = ""]: readonly string[], uri: string) {
  const { hostname, port, username, password, pathname } = new URL(uri);
  const { path, environment } = await findProgram("psql");
  const place = [
    `--host=${hostname}`,
    `--port=${port}`,
    `--dbuser=${username}`,
    `--dbname=${pathname.slice(1)}`,
  ];
  const args = [`--action=${action}`, ...place, `--warning=${warning}`, `--critical=${critical}`];
  return runProgram("check_postgres", args, {
    environment: {
      ...environment,
      PGPASSWORD: decodeURIComponent(password),
      PATH: `${dirname(path)}:${process.env.PATH}`,
    },
  });
}

test("what only a pool can do is refused in pgbouncer's words", async () => {
  for (const command of ["PAUSE", "RECONNECT", "DISABLE x", "SHUTDOWN"]) {
    const { stderr } = await psql(["-c", command], { uri: adminUri("pgbouncer") });
    expect(stderr).toContain(`invalid command '${command}', use SHOW HELP;`);
  }
});
