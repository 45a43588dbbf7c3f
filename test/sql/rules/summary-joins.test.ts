import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { multiplyingJoin } from "../../../proxy/sql/rules/summary-joins.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `
      CREATE TABLE countries (code text PRIMARY KEY, area text);
      CREATE VIEW country_names AS SELECT code AS country, area FROM countries;
    `,
  });
});
afterAll(() => judged?.close());

function refusal(sql: string): string | undefined {
  const { statement, ...given } = ruleInput(judged, "metabase", sql);
  if (statement.top === undefined) throw new Error(`no query: ${sql}`);
  return multiplyingJoin(statement, given, statement.top)?.message;
}

describe("how often a person's rows are counted depends on the schema", () => {
  test.each([
    "SELECT count(*) FROM customers",
    "SELECT count(*) FROM tickets t, payments p WHERE p.customer_id = t.customer_id",
    "SELECT count(*) FROM tickets t JOIN payments p USING (customer_id)",
    "SELECT count(*) FROM tickets t FULL JOIN payments p ON p.customer_id = t.customer_id",
    "SELECT count(*) FROM customers c JOIN country_names n ON n.country = lower(c.country)",
    "SELECT count(*) FROM customers c JOIN countries k ON k.code OPERATOR(pg_catalog.=) c.country",
    "SELECT count(*) FROM customers c JOIN countries k ON k.code = 'DE'",
    "SELECT count(*) FROM customers a JOIN customers b ON a.id = b.id",
  ])("%s", (sql) => {
    expect(refusal(sql)).toBeUndefined();
  });
});

describe("the statement chooses how often", () => {
  test.each([
    ["SELECT count(*) FROM customers, tickets", "public.customers beside public.tickets"],
    [
      "SELECT count(*) FROM customers c LEFT JOIN tickets t ON c.id = 7",
      "public.customers beside public.tickets",
    ],
    [
      "SELECT count(*) FROM customers c LEFT JOIN (countries k CROSS JOIN tickets t) ON k.code = c.country",
      "public.customers beside public.tickets",
    ],
    [
      "SELECT count(*) FROM tickets a JOIN tickets b ON b.customer_id = a.customer_id",
      "public.tickets beside public.tickets",
    ],
    [
      "SELECT count(*) FROM customers c JOIN countries k ON k.code > c.country",
      "public.customers beside public.countries",
    ],
    [
      "SELECT count(*) FROM customers c JOIN countries k ON k.code = k.area",
      "public.customers beside public.countries",
    ],
  ])("%s: %s", (sql, words) => {
    expect(refusal(sql)).toContain(`may not summarise ${words}`);
  });
});
