import { rm, symlink, writeFile } from "node:fs/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { POLICY } from "../clients/policy.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { NotStarted, startSluice, type TestSluice } from "../harness/sluice.ts";
import { servesAsBefore } from "./afterwards.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("bad policy");
  await supportSchema(database.uri);
});
afterAll(() => database.drop());

const start = (policy: string, flags: readonly string[] = []) =>
  startSluice({ policy, upstream: database.uri, flags });

/** What is wrong with a start that must not succeed. */
async function problems(policy: string, flags: readonly string[] = []): Promise<readonly string[]> {
  try {
    const running = await start(policy, flags);
    await running.close();
  } catch (error) {
    if (error instanceof NotStarted) return error.problems;
    throw error;
  }
  throw new Error("it started");
}

const BAD: readonly (readonly [string, string, RegExp])[] = [
  ["empty", "", /policy\.yaml/],
  ["only a comment", "# nothing\n", /policy\.yaml/],
  ["no YAML", "roles: [", /policy\.yaml:\d+:\d+/],
  ["random bytes", "\u0000\u0001\ufffd\ufffe", /policy\.yaml/],
  ["another version", POLICY.replace("version: 1", "version: 99"), /policy\.yaml:1:\d+.*version/],
  ["an unknown key", POLICY.replace("    rows: 100", "    rowz: 100"), /policy\.yaml:\d+:\d+.*rowz/],
  ["an unknown class", POLICY.replace("phone: phone", "phone: telephone"), /policy\.yaml:\d+:\d+.*telephone/],
  ["an unknown parent", POLICY.replace("extends: agent", "extends: boss"), /policy\.yaml:\d+:\d+.*boss/],
];

describe("Sluice does not start on a policy that is", () => {
  test.each(BAD)("%s, and names the place", async (_, policy, told) => {
    const [first] = await problems(policy);
    expect(first).toMatch(told);
  });

  test("not there", async () => {
    const [first] = await problems(POLICY, ["--policy", "/nonexistent/policy.yaml"]);
    expect(first).toContain("/nonexistent/policy.yaml");
  });
});

describe("a policy in force stays when the next one is", () => {
  let sluice: TestSluice;
  beforeAll(async () => {
    sluice = await start(POLICY);
  });
  afterAll(() => sluice.close());

  const staysInForce = async () => {
    expect(await sluice.metric("sluice_policy_last_reload_successful")).toBe(0);
    expect(sluice.log.map(({ msg }) => msg)).toContain("policy rejected");
    const { rows } = await asked(sluice, "SELECT email FROM customers WHERE id = 7");
    expect(rows).toEqual([{ email: "a***@example.com" }]);
    await sluice.setPolicy(POLICY);
    expect(await sluice.metric("sluice_policy_last_reload_successful")).toBe(1);
    await servesAsBefore(sluice, database);
  };

  test.each(BAD)("%s", async (_, policy) => {
    await sluice.setPolicy(policy);
    await staysInForce();
  });

  test("gone", async () => {
    await rm(sluice.policyFile);
    await sluice.reload();
    await staysInForce();
  });

  // A link to itself: unreadable for root, too.
  test("unreadable", async () => {
    await rm(sluice.policyFile);
    await symlink(sluice.policyFile, sluice.policyFile);
    await sluice.reload();
    expect(await sluice.metric("sluice_policy_last_reload_successful")).toBe(0);
    await rm(sluice.policyFile);
    await writeFile(sluice.policyFile, "");
    await staysInForce();
  });
});

async function asked(sluice: TestSluice, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

const MISSING: readonly (readonly [string, string, string, string, RegExp])[] = [
  [
    "a table",
    "roles:",
    "  public.clients: { subject: id, columns: { name: name } ALLOW }\nroles:",
    "clients",
    /public\.clients/,
  ],
  ["a column", "phone: phone }", "phone: phone, mail: email }ALLOW", "customers", /mail/],
  ["a subject", "subject: id", "subject: customer_numberALLOW", "customers", /customer_number/],
];

test.each(MISSING)(
  "%s that the database does not have keeps Sluice from starting",
  async (_, from, to, _table, told) => {
    const [first] = await problems(POLICY.replace(from, to.replace("ALLOW", "")));
    expect(first).toMatch(told);
    expect(first).toContain(": error: ");
  },
);

test.each(MISSING)("%s that may be missing is closed, and the rest works", async (_, from, to, table) => {
  const allow = to.includes("{ subject") ? ", allow_missing: true" : "\n    allow_missing: true";
  const sluice = await start(POLICY.replace(from, to.replace("ALLOW", allow)));
  try {
    await expect(asked(sluice, `SELECT * FROM ${table} WHERE id = 7`)).rejects.toMatchObject({
      code: table === "clients" ? "42P01" : "42501",
    });
    const { rows } = await asked(sluice, "SELECT id, body FROM tickets WHERE id = 7");
    expect(rows).toEqual([{ id: "7", body: "[redacted]" }]);
  } finally {
    await sluice.close();
  }
});
