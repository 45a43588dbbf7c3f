import type { Socket } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { parseMessage, queryMessage, syncMessage } from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { freshDatabase, PASSWORDS, psql, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: [public.customers], budget: { 1d: 100 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
admins: [cleo]
auditors: [metabase]
`;

let database: TestDatabase;
let sluice: TestSluice;

beforeAll(async () => {
  database = await freshDatabase("admin_database");
  await supportSchema(database.uri);
  sluice = await startSluice({ policy: POLICY, upstream: database.uri });
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
});

type User = keyof typeof PASSWORDS;

function admin(user: User, command: string, name = "sluice", password: string = PASSWORDS[user]) {
  const url = new URL(sluice.uriFor(user, password));
  url.pathname = `/${name}`;
  return psql(["-X", "-A", "-F", "|", "-c", command], { uri: url.href });
}

async function connect(user: User): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

test("an admin sees who is connected, and how many people each has read", async () => {
  const anna = await connect("anna");
  await anna.query("SELECT id, email FROM customers WHERE id <= 5");
  expect((await admin("cleo", "SHOW SESSIONS;")).stdout).toMatch(/\|anna\|agent\|admin_database/);
  const { stdout } = await admin("cleo", "show budgets anna");
  expect(stdout).toMatch(/\nanna\|agent\|\w+\|user\|1d\|people\|5\|100\n/);
  expect((await admin("cleo", "SHOW STATEMENTS")).stdout).toMatch(/\|mask\|5\|5\|.*WHERE id <= \$1/);
});

test("budgets show the fractions of a person that statements cost, to a tenth", async () => {
  const anna = await connect("anna");
  const used = async () => {
    const { stdout } = await admin("cleo", "show budgets anna");
    return /\nanna\|agent\|\w+\|user\|1d\|people\|([\d.]+)\|100\n/.exec(stdout)?.[1];
  };
  await anna.query("SELECT id FROM customers WHERE country = $1", ["nowhere"]);
  const before = Number(await used());
  for (let i = 0; i < 4; i++) await anna.query("SELECT id FROM customers WHERE country = $1", [`no ${i}`]);
  expect(Number(await used()) - before).toBeGreaterThan(0.15);
  expect(await used()).toMatch(/^\d+\.\d$/);
});

test("a refused statement is among the alerts, without its literals", async () => {
  const anna = await connect("anna");
  await expect(anna.query("SELECT 'secret-literal' FROM payments")).rejects.toThrow(/payments/);
  const { stdout } = await admin("metabase", "SHOW ALERTS");
  expect(stdout).toMatch(/\|refused\|anna\|agent\|.*\|42501\|/);
  expect(stdout).not.toContain("secret-literal");
});

test("only users that the policy names get in, and only with their password", async () => {
  expect((await admin("anna", "SHOW SESSIONS")).stderr).toMatch(/"anna" may not use the admin database/);
  const wrong = await admin("cleo", "SHOW SESSIONS", "sluice", "wrong");
  expect(wrong.stderr).toMatch(/password authentication failed/);
  expect(wrong.stdout).toBe("");
});

test("an auditor changes nothing", async () => {
  for (const command of ["SUSPEND anna 'why'", "RESUME anna", "KILL x", "RELOAD"]) {
    expect((await admin("metabase", command)).stderr).toMatch(/may look, and change nothing/);
  }
});

test("SUSPEND cuts a user off, RESUME lets them in again, and both show their reason", async () => {
  const anna = await connect("anna");
  const gone = new Promise((resolve) => anna.once("end", resolve));
  expect((await admin("cleo", "SUSPEND anna 'it''s the list'")).stdout).toBe("SUSPEND\n");
  await gone;
  await expect(connect("anna")).rejects.toThrow(/suspended/);
  expect((await admin("cleo", "SHOW SUSPENDED")).stdout).toMatch(/\nanna\|.*\|cleo\|it's the list\n/);
  expect((await admin("cleo", "RESUME anna 'a false alarm'")).stdout).toBe("RESUME\n");
  await connect("anna");
  expect((await admin("cleo", "SHOW ALERTS")).stdout).toMatch(/\|resumption\|anna\|.*by cleo: a false alarm/);
});

test("KILL ends one session", async () => {
  const anna = await connect("anna");
  const gone = new Promise((resolve) => anna.once("end", resolve));
  const [, id = ""] = /\n([0-9a-f-]{36})\|anna\|/.exec((await admin("cleo", "SHOW SESSIONS")).stdout) ?? [];
  expect((await admin("cleo", `KILL ${id}`)).stdout).toBe("KILL\n");
  await gone;
  expect((await admin("cleo", `KILL ${id}`)).stderr).toMatch(/no such session/);
});

test("EXPLAIN says what a role would see, and runs nothing", async () => {
  const { stdout } = await admin("cleo", "EXPLAIN AS anna select email from customers where id = 7");
  expect(stdout).toMatch(/verdict {3}is rewritten/);
  expect(stdout).toMatch(/masked {4}email/);
});

test("pgbouncer's scripts find their columns under pgbouncer's name", async () => {
  for (const [what, columns] of PGBOUNCER) {
    const { stdout } = await admin("metabase", `SHOW ${what};`, "pgbouncer");
    expect(stdout.split("\n")[0], what).toBe(columns.replaceAll(" ", "|"));
  }
});

/** As pgbouncer 1.18 of Debian 12 heads them. */
const PGBOUNCER = [
  [
    "POOLS",
    "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active " +
      "sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode",
  ],
  [
    "STATS",
    "database total_xact_count total_query_count total_received total_sent total_xact_time " +
      "total_query_time total_wait_time avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time " +
      "avg_query_time avg_wait_time",
  ],
  [
    "CLIENTS",
    "type user database state addr port local_addr local_port connect_time request_time wait wait_us " +
      "close_needed ptr link remote_pid tls application_name",
  ],
  ["LISTS", "list items"],
  ["CONFIG", "key value default changeable"],
] as const;

test("what is no command is answered gracefully, and the session goes on", async () => {
  expect((await admin("cleo", "SHOW NOPE")).stderr).toContain("invalid command 'SHOW NOPE', use SHOW HELP;");
  expect((await admin("cleo", "select 1")).stderr).toContain("use SHOW HELP;");
  expect((await admin("cleo", "SUSPEND anna")).stderr).toMatch(/needs a user and a reason/);
  expect((await admin("cleo", "SHOW HELP")).stderr).toContain("SHOW SESSIONS");
  const url = new URL(sluice.uriFor("cleo", PASSWORDS.cleo));
  url.pathname = "/sluice";
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  onTestFinished(() => client.end());
  await expect(client.query("SHOW VERSION", ["a parameter"])).rejects.toThrow(/simple query protocol only/);
  expect((await client.query("SHOW VERSION")).rows[0].version).toMatch(/^Sluice /);
});

test("what follows an error of the extended protocol is dropped up to a Sync, as in the server", async () => {
  const url = new URL(sluice.uriFor("cleo", PASSWORDS.cleo));
  url.pathname = "/sluice";
  const client = new pg.Client({ connectionString: url.href });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end());
  const { connection } = client as unknown as {
    connection: { stream: Socket; on(event: "message", heard: (message: { name: string }) => void): void };
  };
  const heard: string[] = [];
  connection.on("message", ({ name }) => heard.push(name));
  const show = queryMessage(Buffer.from("SHOW VERSION"));
  const call = message(Frontend.FunctionCall, Buffer.alloc(8));
  const flush = message(Frontend.Flush);
  connection.stream.write(
    Buffer.concat([
      flush,
      parseMessage("", Buffer.from("x")),
      show,
      syncMessage,
      call,
      message(Frontend.Query),
      show,
    ]),
  );
  const shown = ["rowDescription", "dataRow", "commandComplete", "readyForQuery"];
  const failed = ["error", "readyForQuery"];
  await expect.poll(() => heard).toEqual([...failed, ...failed, ...failed, ...shown]);
});
