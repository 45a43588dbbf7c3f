import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { strayColumn } from "../../proxy/sql/plain-fields.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { selects, writes } from "../attack/grammar.ts";
import { LACKING_SETUP } from "../attack/lacking.ts";
import { ATTACK_POLICY } from "../attack/worlds.ts";
import { type SupportUser, serverUri } from "../harness/postgres.ts";
import { groupOf, readCorpus } from "./corpus.ts";
import { type Judged, openJudged } from "./judged.ts";
import { type Agent, openAgent } from "./same.ts";

/* Compares what the server says about a result's fields with what the verdict predicts. */

interface Origin {
  readonly tableID: number;
  readonly columnID: number;
}

function strays(scope: Scope, fields: readonly Origin[]): readonly string[] {
  return fields.flatMap(({ tableID, columnID }) =>
    tableID === 0 ? [] : (strayColumn(scope, tableID, columnID) ?? []),
  );
}

describe("a protected column that the server itself names is detected", () => {
  let judged: Judged;
  beforeAll(async () => {
    judged = await openJudged({ setup: "CREATE TABLE later (a int)" });
  });
  afterAll(() => judged.close());

  const fieldsOf = async (sql: string): Promise<readonly Origin[]> =>
    (await judged.database.query(sql)).fields;

  test.each([
    ["SELECT email FROM customers", "anna", "public.customers.email"],
    [
      "SELECT c.phone FROM customers c JOIN tickets t ON t.customer_id = c.id",
      "anna",
      "public.customers.phone",
    ],
    [
      "WITH x AS (SELECT email FROM customers) SELECT * FROM (SELECT email AS id FROM x) y",
      "anna",
      "public.customers.email",
    ],
    ["SELECT email FROM vip_customers", "anna", "public.vip_customers.email"],
    ["SELECT email FROM contact_log_2023", "anna", "public.contact_log_2023.email"],
    ["SELECT email FROM customer_directory", "anna", "public.customer_directory.email"],
    ["SELECT c FROM customers c", "anna", "a whole row of public.customers"],
    ["SELECT id FROM payments", "ben", "public.payments, which the role may not read"],
    ["SELECT query FROM pg_stat_activity", "anna", "pg_catalog.pg_stat_activity.query"],
    ["SELECT rolpassword FROM pg_authid", "anna", "pg_catalog.pg_authid, which the role may not read"],
    ["UPDATE customers SET country = country WHERE id = 7 RETURNING email", "anna", "public.customers.email"],
  ] as const)("%s", async (sql, user, stray) => {
    expect(strays(judged.scope(user), await fieldsOf(sql))).toEqual([stray]);
  });

  test("so is a column that the catalog does not know", async () => {
    await judged.database.query("ALTER TABLE later ADD COLUMN b int; CREATE TABLE unknown (a int)");
    const scope = judged.scope("anna");
    expect(strays(scope, await fieldsOf("SELECT a, b FROM later"))).toEqual([
      "column 2 of public.later, which the catalog does not know",
    ]);
    expect(strays(scope, await fieldsOf("SELECT a FROM unknown"))).toEqual([
      expect.stringMatching(/^relation \d+, which the catalog does not know$/),
    ]);
  });

  test("a column that the role sees is not", async () => {
    const sql =
      "SELECT id, name, country, ctid, tableoid, lower(email), customers.id + 1, (SELECT email FROM customers LIMIT 1) FROM customers";
    expect(strays(judged.scope("anna"), await fieldsOf(sql))).toEqual([]);
    expect(
      strays(judged.scope("anna"), await fieldsOf("SELECT relname, pid FROM pg_class, pg_stat_activity")),
    ).toEqual([]);
    expect(strays(judged.scope("cleo"), await fieldsOf("SELECT email, c FROM customers c"))).toEqual([]);
  });
});

describe("the result of an allowed statement always fits", () => {
  let judged: Judged;
  beforeAll(async () => {
    judged = await openJudged({
      policy: ATTACK_POLICY,
      setup: `
        CREATE TABLE public.notes (id bigint, body text, marks text[], counts int[]);
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, ben, cleo;
        ${LACKING_SETUP}`,
    });
    for (const user of ["anna", "ben", "cleo"] as const)
      await judged.run(user, "SET statement_timeout = '2s'");
  });
  afterAll(() => judged.close());

  async function tried(user: SupportUser, sql: string): Promise<boolean> {
    await judged.run(user, "BEGIN");
    try {
      const { fields } = await judged.run(user, sql);
      expect(strays(judged.scope(user), fields), sql).toEqual([]);
      return fields.length > 0;
    } catch (error) {
      if (error instanceof Error && "code" in error) return false;
      throw error;
    } finally {
      await judged.run(user, "ROLLBACK");
    }
  }

  test.each([
    ["SELECTs", selects, 300, 80],
    // Most return nothing.
    ["writes", writes, 150, 5],
  ] as const)("of generated %s", async (_, statements, numRuns, least) => {
    let ran = 0;
    await fc.assert(
      fc.asyncProperty(statements, fc.constantFrom("anna", "ben", "cleo"), async (sql, user) => {
        if (await tried(user as SupportUser, sql)) ran++;
      }),
      { seed: 15, numRuns },
    );
    expect(ran).toBeGreaterThan(least);
  });
});

const clients = await readCorpus("clients");
const regress = await readCorpus("regress");

describe.skipIf(clients === undefined || regress === undefined)("what clients send always fits", () => {
  let agent: Agent;
  beforeAll(async () => {
    agent = await openAgent(serverUri());
  });
  afterAll(() => agent.close());

  test("of clients, and a sample of Postgres's own tests", async () => {
    const sample = [...(clients ?? []), ...(regress ?? []).filter((_, index) => index % 25 === 0)];
    let described = 0;
    for (const { sql } of sample) {
      if (!["select", "write"].includes(groupOf(sql)) || /pg_sleep|pg_terminate_backend/.test(sql)) continue;
      if (agent.judge(sql).kind === "refuse") continue;
      const given = await agent.guarded(sql);
      if (!("fields" in given)) continue;
      described++;
      const [fields = []] = given.fields as readonly Origin[][];
      expect(strays(agent.scope, fields), sql).toEqual([]);
    }
    expect(described).toBeGreaterThan(300);
  }, 120_000);
});
