import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { formatVerifier, makeVerifier } from "../../proxy/wire/scram.ts";
import { formatUser } from "../../proxy/wire/users-file.ts";
import {
  createRoles,
  freshDatabase,
  PASSWORDS,
  psql,
  startPostgres,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `version: 1
tables: { public.customers: { subject: id } }
roles:
  agent: { users: [anna], reads: [public.customers], budget: { 1d: 100 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
admins: [cleo]
`;
/** For servers of their own, in which nobody has made a table. */
const WITHOUT_TABLES = POLICY.replace("subject: id", "subject: id, allow_missing: true");

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("admins");
  await supportSchema(database.uri);
});
afterAll(() => database?.drop());

async function start(
  upstream = database.uri,
  flags: readonly string[] = [],
  policy = POLICY,
): Promise<TestSluice> {
  const sluice = await startSluice({ policy, upstream, flags });
  onTestFinished(() => sluice.close());
  return sluice;
}

function uri(sluice: TestSluice, user: string, password: string, name = "sluice"): string {
  const url = new URL(sluice.uriFor(user, password));
  url.pathname = name;
  return url.href;
}

const run = (to: string, command: string) => psql(["-XAt", "-c", command], { uri: to });

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

const verifier = async (user: string, password: string) =>
  `${formatUser(user, formatVerifier(await makeVerifier(password, 4096, randomBytes(16))))}\n`;

async function usersFile(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-admins-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "users");
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

test("with --auth scram an admin logs in with a verifier, and RELOAD reads the file again", async () => {
  const file = await usersFile((await verifier("cleo", "first")) + (await verifier("anna", "hers")));
  const sluice = await start(database.uri, ["--auth", "scram", "--users", file]);
  expect((await run(uri(sluice, "cleo", "first"), "SHOW VERSION")).stdout).toMatch(/^Sluice /);
  expect((await run(uri(sluice, "cleo", "hers"), "SHOW VERSION")).stderr).toMatch(/authentication failed/);
  expect((await run(uri(sluice, "anna", "hers"), "SHOW VERSION")).stderr).toMatch(/may not use the admin/);
  expect((await run(uri(sluice, "dba", "x"), "SHOW VERSION")).stderr).toMatch(/authentication failed/);
  await writeFile(file, await verifier("cleo", "second"), { mode: 0o600 });
  expect((await run(uri(sluice, "cleo", "first"), "RELOAD")).stdout).toBe("RELOAD\n");
  expect((await run(uri(sluice, "cleo", "first"), "SHOW VERSION")).stderr).toMatch(/authentication failed/);
  expect((await run(uri(sluice, "cleo", "second"), "SHOW VERSION")).stdout).toMatch(/^Sluice /);
});

test("RELOAD puts the policy as it now is in force, and a bad one leaves the last", async () => {
  const sluice = await start();
  const admin = await connect(uri(sluice, "cleo", PASSWORDS.cleo));
  await writeFile(sluice.policyFile, POLICY.replace("admins: [cleo]", "admins: [cleo, metabase]"));
  await admin.query("RELOAD");
  const second = uri(sluice, "metabase", PASSWORDS.metabase);
  expect((await run(second, "SHOW VERSION")).stdout).toMatch(/^Sluice /);
  await writeFile(sluice.policyFile, "version: nonsense");
  await admin.query("RELOAD");
  expect((await run(second, "SHOW VERSION")).stdout).toMatch(/^Sluice /);
  // An admin who was removed changes nothing more, though their session goes on.
  await writeFile(sluice.policyFile, POLICY.replace("[cleo]", "[metabase]"));
  await admin.query("RELOAD");
  await expect(admin.query("RELOAD")).rejects.toMatchObject({ code: "42501" });
});

test("a server that trusts everybody makes nobody an admin", async () => {
  const trusting = await startPostgres({ auth: "trust" });
  onTestFinished(() => trusting.stop());
  await createRoles(trusting.uri);
  const sluice = await start(trusting.uri, [], WITHOUT_TABLES);
  for (const user of ["cleo", "anna", "postgres"]) {
    const { stdout, stderr } = await run(uri(sluice, user, "any"), "SHOW SESSIONS");
    expect(stderr).toMatch(/asks for no password, so no one can prove to be an admin/);
    expect(stdout).toBe("");
  }
});

test("a real database called pgbouncer keeps its name; the admin database has the other one", async () => {
  // A server of its own: elsewhere somebody else may want the name.
  const server = await startPostgres();
  onTestFinished(() => server.stop());
  await createRoles(server.uri);
  await run(server.uri, "CREATE DATABASE pgbouncer");
  const real = new URL(server.uri);
  real.pathname = "";
  const sluice = await start(server.uri, ["--databases", `pgbouncer=${real.href}`], WITHOUT_TABLES);
  const app = (name: string) => uri(sluice, "helpdesk_app", PASSWORDS.helpdesk_app, name);
  expect((await run(app("pgbouncer"), "SELECT current_database()")).stdout).toBe("pgbouncer\n");
  expect((await run(app("sluice"), "SHOW VERSION")).stderr).toMatch(/may not use the admin database/);
  const admin = uri(sluice, "cleo", PASSWORDS.cleo);
  expect((await run(admin, "SHOW VERSION")).stdout).toMatch(/^Sluice /);
});

test("every order stands in the audit log with its admin", async () => {
  const sluice = await start();
  const admin = await connect(uri(sluice, "cleo", PASSWORDS.cleo));
  const anna = await connect(sluice.uriFor("anna", PASSWORDS.anna));
  const gone = new Promise((resolve) => anna.once("end", resolve));
  const { rows } = await admin.query("SHOW SESSIONS");
  const { session } = rows.find(({ user }) => user === "anna");
  await admin.query(`KILL ${session}`);
  await gone;
  await admin.query("RELOAD");
  await admin.query("SUSPEND anna 'a test'");
  await admin.query("RESUME anna 'is over'");
  const orders = async () => {
    const files = (await readdir(sluice.auditFolder)).filter((name) => name.endsWith(".jsonl"));
    const texts = await Promise.all(files.map((name) => readFile(join(sluice.auditFolder, name), "utf8")));
    return texts
      .flatMap((text) => text.trimEnd().split("\n"))
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line))
      .filter(({ actor }) => actor?.app_name === "sluice" && actor.user?.name === "cleo")
      .map(({ unmapped }) => unmapped);
  };
  await expect
    .poll(orders)
    .toMatchObject([
      { kind: "session killed", session },
      { kind: "reload" },
      { kind: "suspension", user: "anna", why: "a test" },
      { kind: "resumption", user: "anna", why: "is over" },
    ]);
});

test("an admin's session ends when the proxy drains, with 57P01", async () => {
  const sluice = await start();
  const admin = await connect(uri(sluice, "cleo", PASSWORDS.cleo));
  const said = once(admin, "error");
  const closing = sluice.close();
  expect((await said)[0]).toMatchObject({ code: "57P01" });
  await closing;
});
