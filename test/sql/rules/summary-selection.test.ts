import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { narrowSelection } from "../../../proxy/sql/rules/summary-selection.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `
      CREATE TABLE countries (code text PRIMARY KEY, area text);
      ALTER TABLE customers ADD zip text, ADD street text;
      CREATE UNIQUE INDEX ON customers (zip, street);
    `,
  });
});
afterAll(() => judged?.close());

function refusal(sql: string): string | undefined {
  const { statement, ...given } = ruleInput(judged, "metabase", sql);
  if (statement.top === undefined) throw new Error(`no query: ${sql}`);
  return narrowSelection(statement, given, statement.top)?.message;
}

describe("people are chosen and grouped by what many share", () => {
  test.each([
    "SELECT count(*) FROM customers WHERE country = 'DE' AND lower(country) LIKE 'd%'",
    "SELECT count(*) FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE t.created_at >= '2024-01-01'",
    "SELECT count(*) FROM tickets JOIN payments USING (customer_id)",
    "SELECT count(*) FROM customers c JOIN countries k ON k.code = c.country WHERE k.code = 'DE'",
    "SELECT count(*) FROM tickets t, payments p WHERE date_trunc('day', p.paid_at) = t.created_at",
    "SELECT count(*) FROM payments WHERE extract(month FROM paid_at) IN (1, 2)",
    "SELECT date_trunc('month', created_at) AS m FROM customers WHERE zip = '1' GROUP BY m",
  ])("%s", (sql) => {
    expect(refusal(sql)).toBeUndefined();
  });
});

describe("single people could be chosen", () => {
  test.each([
    ["SELECT count(*) FROM customers WHERE id = 7", "public.customers.id, which identifies them"],
    ["SELECT count(*) FROM tickets t(nr) WHERE nr = 7", "public.tickets.id, which identifies them"],
    ["SELECT count(*) FROM customers GROUP BY name", "public.customers.name, which the policy protects"],
    ["SELECT lower(name) AS n FROM customers GROUP BY n", "public.customers.name, which the policy protects"],
    ["SELECT count(*) FROM customers GROUP BY zip, street", "zip and street of public.customers"],
    ["SELECT count(*) FROM customers WHERE zip = '1' OR street = 'x'", "mixes several columns"],
    [
      "SELECT count(*) FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE t.created_at >= c.created_at",
      "mixes several columns",
    ],
    ["SELECT count(*) FROM customers WHERE created_at = ANY ('{2023-01-01}')", "single times or numbers"],
    ["SELECT count(*) FROM customers WHERE ctid = '(0,7)'", "by ctid of public.customers"],
    ["SELECT count(*) FROM customers c WHERE c IS NOT NULL", "by whole rows"],
    ["SELECT count(*) FROM customers WHERE 1 / length(country) > 0", "a condition over people that can fail"],
    ["SELECT count(*) FROM customers GROUP BY country::int", "a group over people that can fail"],
    ["SELECT count(*) FROM customers TABLESAMPLE system (5)", "samples of people"],
    ["SELECT count(*) FROM customers NATURAL JOIN countries", "NATURAL JOIN"],
    ["SELECT count(*) FROM customers, (SELECT 1) s", "not with s"],
    ["WITH w AS (SELECT 1 AS id) SELECT count(*) FROM customers JOIN w USING (id)", "not with w"],
    ["SELECT count(*) FROM customers, generate_series(1, 3) g", "not with g"],
    ["SELECT count(*) FROM customers JOIN tickets USING (id) AS u", "not with a subquery"],
    // The join would combine rows of people with the same mask.
    ["SELECT count(*) FROM customers JOIN contact_log USING (email)", "email, which the policy protects"],
    ["SELECT count(*) FROM customers c JOIN contact_log l ON l.email = c.email", "which the policy protects"],
  ])("%s: %s", (sql, words) => {
    expect(refusal(sql)).toContain(words);
  });
});
