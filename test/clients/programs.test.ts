import { afterAll, beforeAll, expect, test } from "vitest";
import {
  createRoles,
  databaseOn,
  freshDatabase,
  pgbench,
  pgDump,
  startDebianPostgres,
  supportSchema,
} from "../harness/postgres.ts";
import { type Helpdesk, helpdeskOn } from "./helpdesk.ts";

/** Debian's pg_dump takes no server newer than itself. */
let older: { readonly helpdesk: Helpdesk; stop(): Promise<void> };
let helpdesk: Helpdesk;

beforeAll(async () => {
  const server = await startDebianPostgres();
  await createRoles(server.uri);
  const database = await databaseOn(server.uri, "clients_dump");
  await supportSchema(database.uri);
  older = { helpdesk: await helpdeskOn(database), stop: server.stop };
  helpdesk = await helpdeskOn(await accounts());
});
afterAll(async () => {
  await older?.helpdesk.close();
  await older?.stop();
  await helpdesk?.close();
});

async function accounts() {
  const database = await freshDatabase("clients_pgbench");
  const made = await pgbench(["--initialize", "--quiet", "--init-steps=dtgvp"], { uri: database.uri });
  expect(made.code, made.stderr).toBe(0);
  // The policy is the help desk's, and is served only where its tables are.
  await supportSchema(database.uri);
  await database.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app");
  return database;
}

test("pg_dump as the application writes the same file, from the same bytes", async () => {
  const dump = (...args: readonly string[]) =>
    older.helpdesk.sameBothWays(async (uri) => {
      const { stdout, ...rest } = await pgDump(args, { uri });
      // The key of \\restrict is random.
      return { ...rest, stdout: stdout.replaceAll(/^(\\(?:un)?restrict) .*$/gm, "$1") };
    });
  const schema = await dump("--schema-only");
  expect(schema).toMatchObject({ code: 0, stderr: "" });
  expect(schema.stdout).toContain("CREATE TABLE public.customers");
  const data = await dump("--data-only");
  expect(data.stdout).toContain("alice.ng.7@example.com");
  const inserts = await dump("--inserts", "--table=payments");
  expect(inserts.stdout.match(/^INSERT/gm)).toHaveLength(1500);
}, 60_000);

test("pg_dump as an agent brings out nobody's address", async () => {
  const dumped = await pgDump(["--data-only"], { uri: older.helpdesk.uriFor("anna") });
  expect(dumped.code).not.toBe(0);
  expect(dumped.stdout).not.toContain("@example.com");
});

test.each(["simple", "extended", "prepared"])(
  "pgbench -M %s as the application gets the same bytes",
  async (mode) => {
    const args = ["--no-vacuum", "--client=1", "--random-seed=42", `--protocol=${mode}`];
    const { stdout } = await helpdesk.sameBothWays(async (uri) => {
      // Each run begins with the same balances.
      await helpdesk.database.query(
        "UPDATE pgbench_accounts SET abalance = 0; UPDATE pgbench_tellers SET tbalance = 0; UPDATE pgbench_branches SET bbalance = 0",
      );
      const read = await pgbench([...args, "--select-only", "--transactions=50"], { uri });
      const written = await pgbench([...args, "--transactions=50"], { uri });
      const lines = `${read.stdout}${read.stderr}${written.stdout}${written.stderr}`.split("\n");
      return { stdout: lines.filter((line) => /processed|failed|error/i.test(line)).join("\n") };
    });
    expect(stdout.match(/processed: 50\/50/g)).toHaveLength(2);
    expect(stdout).not.toMatch(/error/i);
  },
);
