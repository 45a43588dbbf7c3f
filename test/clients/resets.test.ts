import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [anna], reads: all, rows: 100, budget: { 1d: 300 } }
`;

let database: TestDatabase;
let sluice: TestSluice;
let anna: pg.Client;
beforeAll(async () => {
  database = await freshDatabase("resets");
  await supportSchema(database.uri);
  await database.query("CREATE TABLE plain AS SELECT 1 AS id; GRANT SELECT ON plain TO anna");
  sluice = await startSluice({ policy: POLICY, upstream: database.uri });
  anna = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
  await anna.connect();
});
afterAll(async () => {
  await anna?.end();
  await sluice?.close();
  await database?.drop();
});

/** What Npgsql, psycopg, asyncpg and pools send when a connection comes back. */
const RESETS = [
  "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP",
  ...[
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET SESSION AUTHORIZATION",
    "SET session_authorization TO DEFAULT",
  ],
  ...["RESET ROLE", "SET ROLE NONE", "RESET ALL", "DISCARD ALL"],
];

describe("a reset is no change", () => {
  test.each(RESETS)("%s", async (sql) => {
    await anna.query(sql);
    if (!sql.includes(";") && !sql.startsWith("DISCARD ALL")) {
      await anna.query(`BEGIN`);
      await anna.query({ text: sql, name: `reset ${sql}`, values: [] });
      await anna.query("COMMIT");
    }
    expect((await anna.query("SELECT current_user::text AS user")).rows).toEqual([{ user: "anna" }]);
    expect((await anna.query("SELECT email FROM customers WHERE id = 7")).rows).toEqual([
      { email: "a***@example.com" },
    ]);
  });
});

test("asyncpg turns jit off by a parameter, and on again", async () => {
  const set = (value: string) =>
    anna.query("SELECT current_setting('jit') AS cur, set_config('jit', $1, false) AS new", [value]);
  expect((await set("off")).rows[0]).toMatchObject({ new: "off" });
  expect((await set("on")).rows).toEqual([{ cur: "off", new: "on" }]);
});

describe("EXPLAIN EXECUTE", () => {
  test("shows the plan of what hides nothing, as sqlx asks for it", async () => {
    await anna.query({ name: "plain", text: "SELECT id FROM plain WHERE id = $1", values: [1] });
    const { rows } = await anna.query("EXPLAIN (VERBOSE, FORMAT json) EXECUTE plain(1)");
    expect(JSON.stringify(rows)).toContain('"Relation Name":"plain"');
    await anna.query("PREPARE one AS SELECT 1 AS one");
    expect(JSON.stringify((await anna.query("EXPLAIN EXECUTE one")).rows)).toContain("Result");
  });

  test("and not of what is masked or counted", async () => {
    await anna.query({ name: "masked", text: "SELECT email FROM customers WHERE id = $1", values: [7] });
    await expect(anna.query("EXPLAIN EXECUTE masked(7)")).rejects.toMatchObject({
      code: "42501",
      hint: expect.stringContaining("Explain the statement itself"),
    });
    await expect(anna.query("EXPLAIN EXECUTE nothing")).rejects.toMatchObject({ code: "26000" });
    expect(
      (await anna.query("EXPLAIN SELECT email FROM customers WHERE id = 7")).rows.length,
    ).toBeGreaterThan(0);
  });
});
