import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { strangerToLocked, strangerToWritten } from "../../../proxy/sql/rules/strangers.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

function stranger(sql: string): string | undefined {
  const { statement, sights } = ruleInput(judged, "anna", sql);
  for (const query of statement.queries) {
    const found = strangerToWritten(statement, sights, query) ?? strangerToLocked(statement, sights, query);
    if (found !== undefined) return found;
  }
  return undefined;
}

describe("rows are chosen by their own person", () => {
  test.each([
    "UPDATE tickets SET status = 'x' WHERE customer_id = 7",
    "UPDATE tickets t SET status = 'x' FROM customers c WHERE c.id = t.customer_id AND c.country = 'DE'",
    "DELETE FROM tickets t USING customers c LEFT JOIN payments p ON p.customer_id = c.id WHERE c.id = t.customer_id",
    "DELETE FROM tickets t WHERE customer_id IN (SELECT c.id FROM customers c WHERE country = 'DE')",
    "DELETE FROM tickets t WHERE customer_id = ANY (SELECT c.id FROM customers c JOIN payments p ON p.customer_id = c.id)",
    "DELETE FROM tickets t WHERE id = (SELECT i.id FROM tickets i ORDER BY i.id LIMIT 1)",
    // A queue: everyone may see the column that orders it.
    "UPDATE tickets SET assignee = 'x' WHERE id = (SELECT id FROM tickets WHERE status = 'open' ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)",
    "UPDATE tickets SET body = 'x' WHERE customer_id IN (SELECT DISTINCT c.id FROM customers c WHERE c.name LIKE 'A%' ORDER BY id)",
    "UPDATE tickets SET body = 'x' WHERE customer_id IN (SELECT customer_id FROM payments GROUP BY customer_id HAVING max(card_number) LIKE '4%')",
    "DELETE FROM tickets t WHERE EXISTS (SELECT FROM customers c WHERE c.id = t.customer_id AND c.country = 'DE')",
    "SELECT * FROM tickets t JOIN customers c ON c.id = t.customer_id FOR UPDATE",
    "SELECT * FROM (SELECT * FROM tickets WHERE customer_id = 7) t FOR UPDATE",
    // Rows of WITH queries are not locked.
    "WITH x AS (SELECT * FROM customers) SELECT * FROM x FOR UPDATE",
    "SELECT c.oid FROM pg_class c FOR SHARE",
  ])("%s", (sql) => {
    expect(stranger(sql)).toBeUndefined();
  });
});

describe("rows are chosen by other people", () => {
  test.each([
    ["UPDATE tickets t SET status = 'x' FROM customers c WHERE c.id = t.id", "customers"],
    ["UPDATE tickets t SET status = 'x' FROM customers c WHERE c.id >= t.customer_id", "customers"],
    [
      "DELETE FROM tickets t USING customers c FULL JOIN payments p ON p.customer_id = c.id WHERE c.id = t.customer_id",
      "payments",
    ],
    ["DELETE FROM tickets t WHERE id < (SELECT count(*) FROM customers c)", "customers"],
    ["DELETE FROM tickets t WHERE customer_id IN (SELECT c.id FROM customers c, payments p)", "payments"],
    // Which row is taken depends on protected columns of the others.
    [
      "UPDATE customers SET email = '' WHERE id IN (SELECT id FROM customers ORDER BY name LIMIT 1)",
      "customers",
    ],
    [
      "UPDATE customers SET email = '' WHERE id IN (SELECT id FROM customers ORDER BY name OFFSET 5)",
      "customers",
    ],
    [
      "UPDATE customers SET email = '' WHERE id IN (SELECT id FROM customers WHERE phone LIKE '%7' FETCH FIRST ROW ONLY)",
      "customers",
    ],
    [
      "UPDATE customers SET email = '' WHERE id IN (SELECT id FROM customers ORDER BY lag(name) OVER (ORDER BY id) LIMIT 500)",
      "customers",
    ],
    [
      "UPDATE tickets t SET body = '' WHERE customer_id = ANY (SELECT DISTINCT ON (id / 2) id FROM customers ORDER BY id / 2, name)",
      "customers",
    ],
    [
      "SELECT * FROM tickets WHERE id = (SELECT i.id FROM tickets i ORDER BY i.body LIMIT 1) FOR UPDATE",
      "tickets",
    ],
    ["DELETE FROM tickets t WHERE customer_id IN (SELECT c.id FROM customers c UNION SELECT 1)", "customers"],
    [
      "WITH x AS (SELECT c.id FROM customers c WHERE name LIKE 'V%') DELETE FROM tickets t USING x WHERE t.id = x.id",
      "customers",
    ],
    ["SELECT * FROM tickets t, customers c FOR UPDATE OF t", "customers"],
    ["SELECT t.*, (SELECT max(c.country) FROM customers c) FROM tickets t FOR UPDATE", "customers"],
    ["SELECT * FROM (SELECT t.* FROM tickets t, customers c) x FOR UPDATE", "customers"],
    ["WITH x AS (SELECT * FROM customers) SELECT t.* FROM tickets t, x FOR UPDATE", "customers"],
  ])("%s", (sql, table) => {
    expect(stranger(sql)).toBe(`public.${table}`);
  });
});
