import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cannotFail } from "../../../proxy/sql/rules/certain.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: "CREATE VIEW public.shares AS SELECT id, 1 / (id - 5) AS share FROM customers",
  });
});
afterAll(() => judged?.close());

const certain = (sql: string): boolean => cannotFail(ruleInput(judged, "anna", sql).statement);

describe("no condition can fail on a row", () => {
  test.each([
    "SELECT 1 / (id - 5) FROM customers WHERE id = 7",
    "SELECT 1 FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.id IN (7, $1) AND (t.status IS NULL OR t.id <> 3)",
    "SELECT 1 FROM payments p JOIN contact_log l USING (customer_id) WHERE p.id BETWEEN 1 AND '5'::int",
    "SELECT (SELECT count(*) FROM tickets WHERE customer_id = 7)",
    "VALUES (1)",
  ])("%s", (sql) => {
    expect(certain(sql)).toBe(true);
  });
});

describe("some condition may fail", () => {
  test.each([
    "SELECT 1 FROM customers WHERE id = 7 AND 1 / (id - 5) > 0",
    "SELECT 1 FROM customers WHERE name LIKE 'a\\'",
    "SELECT 1 FROM customers WHERE name::int = 7",
    "SELECT 1 FROM customers c JOIN tickets t ON t.subject::int = c.id",
    "SELECT count(*) FROM customers GROUP BY country HAVING 1 / (count(*) - 5) > 0",
    "SELECT 1 FROM (SELECT 1 / (id - 5) AS a FROM customers) s WHERE a = 1",
    "WITH s AS (SELECT 1 / (id - 5) AS a FROM customers) SELECT 1 FROM s WHERE a = 1",
    "SELECT 1 FROM shares WHERE share = 1",
    "SELECT 1 FROM customers c WHERE c = ROW(1, 2)",
    "SELECT (SELECT 1 FROM customers WHERE 1 / (id - 5) > 0)",
    "SELECT 1 FROM customers TABLESAMPLE system (10) WHERE id = 7",
    "SELECT id FROM customers WHERE id = 7 UNION SELECT id FROM tickets WHERE id = 7",
  ])("%s", (sql) => {
    expect(certain(sql)).toBe(false);
  });
});
