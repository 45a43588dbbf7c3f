import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  groupingValues,
  isGroupedOrAggregated,
  namedReferences,
  showsSummariesOnly,
} from "../../../proxy/sql/rules/summary-clauses.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ setup: "CREATE TABLE countries (code text PRIMARY KEY, area text)" });
});
afterAll(() => judged?.close());

function top(sql: string) {
  const { statement, sights } = ruleInput(judged, "metabase", sql);
  if (statement.top === undefined) throw new Error(`no query: ${sql}`);
  return { statement, sights, query: statement.top };
}

function showsSummaries(sql: string): boolean {
  const { statement, sights, query } = top(sql);
  return showsSummariesOnly(statement, sights, query);
}

describe("groups and summaries alone are shown", () => {
  test.each([
    "SELECT count(*), count(email), count(DISTINCT c.id) FROM customers c",
    "SELECT country, c.country, lower(c.country), count(*) FROM customers c GROUP BY country, lower(country)",
    "SELECT lower(country) AS a, count(*) FROM customers GROUP BY a HAVING count(*) > 2 ORDER BY a, 2",
    "SELECT lower(country), count(*) FROM customers GROUP BY ROLLUP (1)",
    "SELECT count(*) FROM customers GROUP BY (country, created_at) ORDER BY created_at",
    "SELECT DISTINCT ON (country) country, count(*) AS n FROM customers GROUP BY country ORDER BY country, n",
    "SELECT coalesce(sum(p.amount_cents), 0)::float8 / nullif(count(*), $1) FROM payments p",
    "SELECT id, count(*) FROM customers JOIN tickets USING (id) GROUP BY id",
    "SELECT count(c) FROM customers c",
    // The server reports that there is no such column.
    "SELECT count(nonsense) FROM customers",
    // An inner join leaves nothing out.
    "SELECT count(k.area) FROM customers c JOIN countries k ON k.code = c.country",
  ])("%s", (sql) => {
    expect(showsSummaries(sql)).toBe(true);
  });
});

describe("something else is shown", () => {
  test.each([
    "SELECT country FROM customers",
    "SELECT *, count(*) FROM customers GROUP BY 1",
    "SELECT country, count(*) FROM customers GROUP BY lower(country)",
    "SELECT c.country, t.region FROM customers c JOIN tickets t ON t.customer_id = c.id GROUP BY c.country",
    "SELECT max(country) FROM customers",
    "SELECT count(lower(country)) FROM customers",
    "SELECT count(*) FILTER (WHERE country = 'DE') FROM customers",
    "SELECT count(*) OVER () FROM customers",
    "SELECT sum(amount_cents ORDER BY id) FROM payments",
    "SELECT count(*), (SELECT 1) FROM customers",
    "SELECT count(*) FROM customers HAVING (SELECT true)",
    "SELECT count(*) FROM customers ORDER BY min(name)",
    "SELECT count(*), CASE WHEN count(*) > 3 THEN 1 END FROM customers",
    "SELECT count(k.area) FROM customers c LEFT JOIN countries k ON k.code = c.country",
    "SELECT count(s.n) FROM customers c, (SELECT 1 AS n) s",
    "SELECT count(oid) FROM customers c, pg_class",
  ])("%s", (sql) => {
    expect(showsSummaries(sql)).toBe(false);
  });
});

test("GROUP BY means a column before it means an output, and an output by its number", () => {
  const sql = "SELECT lower(name) AS country, upper(name) AS u FROM customers GROUP BY country, u, 1, 3";
  const { statement, query } = top(sql);
  const [first, second, third, ...more] = groupingValues(statement, query);
  expect(first).toMatchObject({ ColumnRef: {} });
  expect(second).toBe(query.outputs[1]?.node);
  expect(third).toBe(query.outputs[0]?.node);
  expect(more).toEqual([]);
});

test("a query groups where it has groups, or an aggregate over its own rows", () => {
  const is = (sql: string) => isGroupedOrAggregated(top(sql).query);
  expect(is("SELECT 1 FROM customers GROUP BY country")).toBe(true);
  expect(is("SELECT abs(count(*)) FROM customers")).toBe(true);
  expect(is("SELECT 1 FROM customers GROUP BY ()")).toBe(false);
  expect(is("SELECT (SELECT count(*) FROM tickets) FROM customers")).toBe(false);
});

test("a join's alias hides its sides, and the one of USING does not", () => {
  const named = (sql: string) => namedReferences(top(sql).query).map(({ alias }) => alias);
  expect(named("SELECT FROM (customers c JOIN tickets t ON true) j, payments p")).toEqual(["j", "p"]);
  expect(named("SELECT FROM customers c JOIN tickets t USING (id) AS u")).toEqual(["c", "t", ""]);
  expect(named("SELECT FROM customers c JOIN tickets t ON true JOIN payments ON true")).toEqual([
    "c",
    "t",
    "payments",
  ]);
});
