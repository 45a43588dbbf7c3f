import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { storedMask } from "../../../proxy/sql/rules/stored-masks.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

function message(sql: string): string | undefined {
  const { statement, ...given } = ruleInput(judged, "anna", sql);
  for (const query of statement.queries) {
    const refusal = query.write && storedMask(statement, given, query);
    if (refusal !== undefined) return refusal.message;
  }
  return undefined;
}

describe("a mask would be stored as if it were the value", () => {
  test.each([
    "INSERT INTO tickets (id, subject) SELECT id, email FROM customers",
    "INSERT INTO tickets (id, subject) SELECT * FROM (SELECT id, upper(email) FROM customers) s",
    "INSERT INTO tickets (id, subject) SELECT id, n FROM (SELECT id, email FROM customers) s (id, n)",
    "INSERT INTO tickets (id, subject) VALUES (1, ''), (2, (SELECT email FROM customers WHERE id = 7))",
    "INSERT INTO tickets (id, subject) SELECT 1, 'x' UNION SELECT id, phone FROM customers",
    "INSERT INTO tickets (id, subject) WITH w AS (SELECT id, email AS e FROM customers) SELECT id, e FROM w",
    "INSERT INTO tickets (id, subject) SELECT id, to_jsonb(c)::text FROM customers c",
    "INSERT INTO tickets (id, subject) SELECT id, x FROM customers c, unnest(ARRAY[c.email]) x",
    "INSERT INTO tickets (id, subject) SELECT s.* FROM (SELECT c.id, x.* FROM customers c, unnest(ARRAY[c.email]) x) s",
    "INSERT INTO tickets (id, subject) SELECT j.id, j::text FROM (customers c CROSS JOIN LATERAL json_to_record(to_json(c)) x (y text)) j",
    "INSERT INTO tickets (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET subject = (SELECT max(email) FROM customers)",
    "UPDATE tickets SET status = c.phone FROM customers c WHERE c.id = customer_id",
    "UPDATE tickets SET (status, region) = (SELECT 'x', email FROM customers WHERE id = 7)",
    "UPDATE tickets SET status = CASE WHEN c.email LIKE 'a%' THEN 'x' END FROM customers c WHERE c.id = customer_id",
    "MERGE INTO tickets t USING customers c ON c.id = t.id WHEN NOT MATCHED THEN INSERT (id, subject) VALUES (c.id, c.email)",
    "MERGE INTO tickets t USING customers c ON c.id = t.id WHEN MATCHED THEN UPDATE SET status = c.phone",
  ])("%s", (sql) => {
    expect(message(sql)).toMatch(/^role "agent" sees public.customers.(email|phone) masked: the mask/);
  });
});

describe("the stored value is not a mask", () => {
  test.each([
    // A mask may choose rows: the role can see it.
    "INSERT INTO tickets (id, subject) SELECT id, name FROM customers WHERE email LIKE 'a%'",
    "INSERT INTO tickets (id) SELECT count(*) FROM customers WHERE email LIKE 'a%'",
    "INSERT INTO tickets (id) SELECT id FROM (SELECT id, email FROM customers) s",
    "INSERT INTO tickets (id) WITH w AS (SELECT id, email FROM customers) SELECT id FROM w",
    "INSERT INTO customers (id, email) VALUES (1, 'a@b.c') ON CONFLICT (id) DO UPDATE SET country = excluded.email",
    "UPDATE tickets SET status = c.name FROM (SELECT id, name, email FROM customers) c WHERE c.id = customer_id",
    "UPDATE tickets SET status = EXISTS (SELECT FROM customers WHERE email LIKE 'a%')::text",
    "DELETE FROM tickets USING customers c WHERE c.email LIKE 'a%'",
  ])("%s", (sql) => {
    expect(message(sql)).toBeUndefined();
  });
});
