import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { comparedMasks } from "../../../proxy/sql/rules/compared-masks.ts";
import { lookupsOf } from "../../../proxy/sql/rules/lookups.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

function compared(sql: string): readonly string[] {
  const { statement, ...given } = ruleInput(judged, "anna", sql);
  return comparedMasks(statement, given.sights, lookupsOf(statement, given)).map(({ column }) => column);
}

describe("a mask is compared", () => {
  test.each([
    ["SELECT id FROM customers WHERE email LIKE 'a%'", ["public.customers.email"]],
    ["SELECT email < 'b' FROM customers", ["public.customers.email"]],
    ["SELECT CASE email WHEN 'a' THEN 1 END FROM customers", ["public.customers.email"]],
    ["SELECT id FROM customers WHERE email IN (SELECT 'a')", ["public.customers.email"]],
    ["SELECT id FROM customers WHERE starts_with(phone, '+1')", ["public.customers.phone"]],
    [
      "SELECT c.id FROM customers c JOIN contact_log l USING (email)",
      ["public.customers.email", "public.contact_log.email"],
    ],
    ["SELECT e FROM (SELECT lower(email) AS e FROM customers) x WHERE e = 'a'", ["public.customers.email"]],
    [
      "WITH x(i, e) AS (SELECT id, email FROM customers) SELECT i FROM x WHERE e = 'a'",
      ["public.customers.email"],
    ],
    [
      "SELECT e FROM (SELECT status AS e FROM tickets UNION SELECT phone FROM customers) x WHERE e = 'a'",
      ["public.customers.phone"],
    ],
    [
      "WITH RECURSIVE x(e) AS (SELECT email FROM customers UNION SELECT e FROM x) SELECT FROM x WHERE e = 'a'",
      ["public.customers.email"],
    ],
    [
      "SELECT 1 FROM generate_series(1, 2) WITH ORDINALITY g(n, m), LATERAL unnest(ARRAY[1 = (SELECT 1 FROM customers WHERE phone < 'a')]) u",
      ["public.customers.phone"],
    ],
  ])("%s", (sql, expected) => {
    expect(compared(sql)).toEqual(expected);
  });
});

describe("no mask is compared", () => {
  test.each([
    "SELECT id FROM customers WHERE email = 'a'",
    "SELECT id FROM customers WHERE name = 'a'",
    "SELECT email || 'x' FROM customers",
    "SELECT NULLIF(email, '') FROM customers",
    "SELECT email FROM customers ORDER BY email",
    "SELECT i FROM (SELECT id AS i, email FROM customers) x WHERE i = 7",
  ])("%s", (sql) => {
    expect(compared(sql)).toEqual([]);
  });
});
