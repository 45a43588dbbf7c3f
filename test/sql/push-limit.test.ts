import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged, POLICY } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ policy: POLICY.replace("rows: 100", "rows: 100\n    push_limit: true") });
});
afterAll(() => judged.close());

async function rowsOf(sql: string): Promise<number> {
  return (await judged.run("anna", sql)).rows.length;
}

function sent(sql: string): string {
  const verdict = judged.judge("anna", sql);
  if (verdict.kind !== "rewrite") throw new Error(`${sql} is not rewritten`);
  return verdict.sql.toString();
}

describe("push_limit has the server stop one row past the limit", () => {
  test.each([
    "SELECT id FROM customers",
    "SELECT id FROM customers;",
    "SELECT id FROM customers -- all of them",
    "SELECT id FROM customers /* all */ ; -- of them",
    "SELECT id, email FROM customers ORDER BY created_at DESC",
    "SELECT id FROM customers WHERE country <> 'x'",
    "SELECT id FROM customers OFFSET 7",
    "(SELECT id FROM customers)",
    "TABLE customers",
    "SELECT id FROM customers UNION ALL SELECT id FROM customers",
    "WITH c AS (SELECT id FROM customers) SELECT id FROM c",
    "SELECT country, id FROM customers GROUP BY country, id HAVING count(*) > 0",
  ])("%s", async (sql) => {
    expect(await rowsOf(sql)).toBe(101);
  });

  test("the same rows come first as without it", async () => {
    const sql = "SELECT id, name FROM customers ORDER BY id DESC";
    const { rows } = await judged.run("anna", sql);
    expect(rows).toEqual((await judged.run("cleo", sql)).rows.slice(0, 101));
  });

  test("in a prepared text as in any other", async () => {
    expect((await judged.run("anna", "SELECT id FROM customers WHERE id > $1", [3])).rows).toHaveLength(101);
  });
});

describe("push_limit leaves alone", () => {
  test.each([
    ["a LIMIT of the statement's own", "SELECT id FROM customers LIMIT 3"],
    ["FETCH FIRST", "SELECT id FROM customers ORDER BY id FETCH FIRST 3 ROWS WITH TIES"],
    ["LIMIT ALL", "SELECT id FROM customers LIMIT ALL"],
    ["rows that are locked", "SELECT id FROM tickets FOR UPDATE"],
    ["rows that a subquery locks", "SELECT * FROM (SELECT id FROM tickets FOR UPDATE) t"],
    ["writes", "WITH w AS (UPDATE tickets SET status = 'open' RETURNING id) SELECT id FROM w"],
    ["what a cursor will fetch", "DECLARE c CURSOR FOR SELECT id FROM customers"],
  ])("%s", (_, sql) => {
    expect(sent(sql)).not.toMatch(/LIMIT 101/);
  });

  test("statements that read no relation of the policy's", () => {
    expect(judged.judge("anna", "SELECT generate_series(1, 200)").kind).toBe("pass");
  });

  test("roles without it", () => {
    const verdict = judged.judge("cleo", "SELECT id, phone FROM customers");
    expect(verdict.kind === "rewrite" ? verdict.sql.toString() : "").not.toMatch(/LIMIT/);
  });
});
