import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type PeopleSummary, summaryOfPeople } from "../../../proxy/sql/rules/summaries.ts";
import type { SupportUser } from "../../harness/postgres.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

/** The findings about each query that reads people, from the inside out. */
function findings(sql: string, user: SupportUser = "metabase") {
  const { statement, ...given } = ruleInput(judged, user, sql);
  return statement.queries.flatMap((query) => summaryOfPeople(statement, given, query) ?? []);
}

function summaries(sql: string): readonly PeopleSummary[] {
  return findings(sql).flatMap((each) => (each.kind === "summary" ? [each.summary] : []));
}

function refusals(sql: string): readonly string[] {
  return findings(sql).flatMap((each) => (each.kind === "refused" ? [each.refusal.message] : []));
}

test("a role that may see rows of people needs no summary, nor does a query without people", () => {
  expect(findings("SELECT * FROM customers", "cleo")).toEqual([]);
  expect(findings("SELECT 1, (SELECT max(relname) FROM pg_class)")).toEqual([]);
});

test("people are identified by their column's name in the query", () => {
  const [summary] = summaries("SELECT count(*) FROM tickets AS t (nr, person) WHERE status = 'open'");
  expect(summary?.people).toEqual([
    { alias: "t", exposed: "person", subject: expect.objectContaining({ column: "customer_id" }) },
  ]);
});

test("each relation of people counts separately, on the nullable side too", () => {
  const [summary] = summaries(
    "SELECT count(*) FROM customers c LEFT JOIN payments p ON p.customer_id = c.id",
  );
  expect(summary?.people.map(({ alias }) => alias)).toEqual(["c", "p"]);
});

test("all calls of a query get noise, wherever they are, and those of other queries do not", () => {
  const sql =
    "SELECT country, count(*) FROM customers GROUP BY 1 HAVING abs(count(email)) > 3 ORDER BY avg(10)";
  expect(refusals(sql)).toEqual([expect.stringContaining("may not see avg() of people of a constant")]);
  const [summary] = summaries(sql.replace("avg(10)", "count(DISTINCT phone)"));
  expect(summary?.calls.map(({ distinct }) => distinct)).toEqual([false, true, false]);
});

describe("conditions of an enclosing query are kept out", () => {
  test.each([
    ["SELECT count(*) FROM customers", false],
    ["EXPLAIN SELECT count(*) FROM customers", false],
    ["SELECT count(*) FROM customers UNION ALL SELECT count(*) FROM tickets", false],
    ["SELECT * FROM (SELECT country, count(*) FROM customers GROUP BY 1) s WHERE country > 'A'", true],
    ["WITH s AS (SELECT count(*) FROM customers) SELECT 1 UNION SELECT count FROM s", true],
    ["SELECT (SELECT count(*) FROM customers)", true],
    ["INSERT INTO tickets (id) SELECT count(*) FROM customers", true],
    ["SELECT * FROM (SELECT country, count(*) FROM customers GROUP BY 1 LIMIT 5) s", false],
    ["SELECT * FROM (SELECT country, count(*) FROM customers GROUP BY 1 OFFSET 5) s", false],
  ])("%s: %s", (sql, needsFence) => {
    expect(summaries(sql).map((each) => each.needsFence)).toContain(needsFence);
    expect(refusals(sql)).toEqual([]);
  });

  test("there is no place for it in an operand", () => {
    const operand = "SELECT country, count(*) FROM customers GROUP BY 1";
    const around = (arm: string) => `SELECT * FROM (${arm} UNION ALL SELECT status, 1 FROM days) s`;
    expect(refusals(around(operand))).toEqual([expect.stringContaining("in a set operation inside")]);
    expect(refusals(around(`(${operand} LIMIT 5)`))).toEqual([]);
  });
});

describe("a query is refused", () => {
  test.each([
    ["SELECT * FROM customers", "only see summaries of public.customers"],
    [
      "SELECT count(j.id) FROM (customers c JOIN tickets t ON t.customer_id = c.id) j",
      "a join with an alias",
    ],
    ["SELECT count(*) FROM customers WINDOW w AS ()", "windows over people"],
    ["SELECT FROM customers GROUP BY country", "only see summaries of public.customers"],
    ["SELECT 1 FROM customers", "only see summaries of public.customers"],
    ["SELECT count(*) FROM customers WHERE id = 7", "by public.customers.id"],
    ["SELECT count(*) FROM customers, tickets", "could multiply its rows"],
  ])("%s: %s", (sql, words) => {
    expect(refusals(sql)).toEqual([expect.stringContaining(words)]);
  });

  test("whose noise would need a key that the proxy does not have", () => {
    const { statement, ...given } = ruleInput(judged, "metabase", "SELECT count(*) FROM customers");
    const [query] = statement.queries;
    if (query === undefined) throw new Error("no query");
    const found = summaryOfPeople(statement, { ...given, maskKey: undefined }, query);
    expect(found).toMatchObject({
      kind: "refused",
      refusal: { message: expect.stringContaining("secret key") },
    });
  });
});
