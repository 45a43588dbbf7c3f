import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged } from "../judged.ts";

/* Which parts of a WITH query the server runs and locks: rules/people-shown.ts and strangers.ts rely on this. */

let judged: Judged;
let one: pg.Client;
let other: pg.Client;
beforeAll(async () => {
  judged = await openJudged();
  const { uri } = judged.database;
  [one, other] = [uri, uri].map((connectionString) => new pg.Client({ connectionString })) as [
    pg.Client,
    pg.Client,
  ];
  await Promise.all([one.connect(), other.connect()]);
});
afterAll(async () => {
  await Promise.all([one?.end(), other?.end()]);
  await judged?.close();
});

/** Whether ticket 1 is locked after the statement has run, in a transaction that is rolled back. */
async function locksTicket(sql: string): Promise<boolean> {
  await one.query("BEGIN");
  try {
    await one.query(sql);
    const { rows } = await other.query("SELECT FROM tickets WHERE id = 1 FOR UPDATE SKIP LOCKED");
    return rows.length === 0;
  } finally {
    await one.query("ROLLBACK");
  }
}

describe("FOR UPDATE", () => {
  test.each([
    "SELECT * FROM tickets WHERE id = 1 FOR UPDATE",
    "SELECT * FROM (SELECT * FROM tickets WHERE id = 1) x FOR UPDATE",
    "WITH x AS (SELECT * FROM tickets WHERE id = 1 FOR UPDATE) SELECT * FROM x",
    "WITH x AS (UPDATE tickets SET status = 'x' WHERE id = 1) SELECT 1",
  ])("locks rows: %s", async (sql) => {
    expect(await locksTicket(sql)).toBe(true);
  });

  test.each([
    "WITH x AS (SELECT * FROM tickets WHERE id = 1) SELECT * FROM x FOR UPDATE",
    "WITH x AS MATERIALIZED (SELECT * FROM tickets WHERE id = 1) SELECT * FROM customers c, x WHERE c.id = 7 FOR UPDATE",
    "WITH x AS (SELECT * FROM tickets WHERE id = 1 FOR UPDATE) SELECT 1",
  ])("locks none of a WITH query that has none of its own, or is not run: %s", async (sql) => {
    expect(await locksTicket(sql)).toBe(false);
  });
});

test("a SELECT that nothing refers to cannot even fail", async () => {
  const sql = "WITH x AS (SELECT 1 / (id - id) FROM customers) SELECT 1 AS n";
  expect((await one.query(sql)).rows).toEqual([{ n: 1 }]);
});

test("a write that nothing refers to is run, and judged as one", async () => {
  const sql = "WITH x AS (UPDATE tickets SET status = 'seen' WHERE id = 1) SELECT 1";
  expect(judged.judge("anna", sql).statements).toMatchObject([{ kind: "write", writes: ["public.tickets"] }]);
  const strangers = "WITH x AS (DELETE FROM tickets t USING customers c WHERE c.id = t.id) SELECT 1";
  expect(judged.judge("anna", strangers)).toMatchObject({ kind: "refuse" });
});

test("IN with one value equals =, and restricts to the same person", async () => {
  const { rows } = await one.query("EXPLAIN (COSTS OFF) SELECT 1 FROM customers WHERE id IN (7)");
  expect(JSON.stringify(rows)).toContain("(id = 7)");
  const priceOf = (condition: string) =>
    judged.judge("anna", `SELECT name FROM customers WHERE ${condition}`).statements[0]?.metering?.price;
  expect(priceOf("id IN (7)")).toEqual(priceOf("id = 7"));
  expect(priceOf("id IN (7)")?.pins).toHaveLength(1);
  expect(priceOf("id IN (7, 8)")?.pins).toBeUndefined();
});

test("a plan that gathers has the price of any plan: nothing is run, and no figure is shown", () => {
  const [gathers, lists] = ["json_agg(name)", "name"].map((what) => {
    const verdict = judged.judge("anna", `EXPLAIN SELECT ${what} FROM customers`);
    expect(verdict.kind === "rewrite" && verdict.sql.toString()).toMatch(/^EXPLAIN \(COSTS OFF\) /);
    return verdict.statements[0]?.metering?.price;
  });
  expect(gathers).toEqual(lists);
  expect(judged.judge("anna", "EXPLAIN ANALYZE SELECT json_agg(name) FROM customers").kind).toBe("refuse");
});
