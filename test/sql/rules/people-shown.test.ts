import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { peopleNamed } from "../../../proxy/sql/rules/named-people.ts";
import { ownCalls, peoplePerRow } from "../../../proxy/sql/rules/people-shown.ts";
import { summarisingCalls } from "../../../proxy/sql/rules/summarising.ts";
import { writtenPeople } from "../../../proxy/sql/rules/written-people.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `CREATE FUNCTION public.shown(bigint) RETURNS text LANGUAGE sql AS 'SELECT name FROM customers WHERE id = $1';
      CREATE FUNCTION public.told(public.customers) RETURNS text LANGUAGE sql AS 'SELECT $1.name';`,
  });
});
afterAll(() => judged?.close());

describe("people that a row may show", () => {
  test.each([
    ["SELECT 1", undefined],
    ["SELECT oid FROM pg_class", undefined],
    ["SELECT name FROM customers", 1],
    ["SELECT 1 FROM customers c, tickets t, customers d", 3],
    ["SELECT max(name) FROM customers", 2],
    ["SELECT (SELECT min(t.status) FROM tickets t) FROM customers c", 3],
    ["SELECT 1 FROM customers WHERE EXISTS (SELECT FROM tickets)", 2],
    ["SELECT name FROM customers UNION SELECT subject FROM tickets", 2],
    ["SELECT shown(1)", 1],
    ["SELECT c.told FROM customers c", 2],
    ["SELECT (c).told FROM customers c", 2],
    ["SELECT x.told FROM (SELECT c FROM customers c) s(x)", 2],
    ["EXECUTE p(shown(1))", 0],
    ["UPDATE tickets t SET status = 'x' FROM customers c WHERE c.id = 7 RETURNING t.id", 2],
    ["INSERT INTO tickets SELECT * FROM tickets RETURNING id", 2],
  ])("%s", (sql, people) => {
    const { statement, ...given } = ruleInput(judged, "anna", sql);
    expect(peoplePerRow(statement, given)).toBe(people);
  });

  test.each([
    ["WITH x AS (SELECT name FROM customers) SELECT * FROM x", 1],
    ["WITH x AS (SELECT name FROM customers) SELECT * FROM x a, x b", 2],
    [
      "WITH x AS (SELECT name FROM customers), y AS (SELECT a.name FROM x a, x b) SELECT * FROM y a, y b, tickets",
      5,
    ],
    ["WITH x AS (SELECT name FROM customers) SELECT id FROM tickets", 1],
    ["WITH RECURSIVE y AS (SELECT * FROM x), x AS (SELECT name FROM customers) SELECT * FROM y", 1],
    [
      "WITH RECURSIVE r AS (SELECT id FROM customers UNION ALL SELECT t.id FROM tickets t JOIN r ON true) SELECT * FROM r",
      2,
    ],
  ])("of a WITH query are counted where it is referred to: %s", (sql, people) => {
    const { statement, ...given } = ruleInput(judged, "anna", sql);
    expect(peoplePerRow(statement, given)).toBe(people);
  });

  test("also of a function that a cast runs", () => {
    const { statement, ...given } = ruleInput(judged, "anna", "SELECT id FROM customers");
    expect(peoplePerRow(statement, { ...given, castFunctions: 2 })).toBe(3);
    expect(ownCalls(statement, { ...given, castFunctions: 2 })).toBe(2);
  });
});

describe("people in a write, besides its target", () => {
  test.each([
    ["INSERT INTO tickets (id) VALUES (1) RETURNING (SELECT max(c.name) FROM customers c)", 0, 0],
    ["INSERT INTO tickets (id) SELECT c.id FROM customers c", 0, 1],
    [
      "INSERT INTO tickets (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET status = (SELECT c.name FROM customers c)",
      0,
      1,
    ],
    ["UPDATE tickets SET status = 'x' WHERE id = 7", 0, 0],
    ["UPDATE tickets t SET status = 'x' FROM customers c WHERE EXISTS (SELECT FROM payments)", 2, 0],
    ["UPDATE tickets t SET status = (SELECT c.name FROM customers c)", 0, 1],
    ["UPDATE tickets t SET status = shown(7)", 0, 1],
    ["DELETE FROM tickets t USING customers c", 1, 0],
    ["MERGE INTO tickets t USING customers c ON t.id = c.id WHEN MATCHED THEN DELETE", 0, 1],
    [
      "MERGE INTO tickets t USING (VALUES (1)) v(n) ON t.id = n WHEN MATCHED THEN DELETE RETURNING (SELECT max(c.id) FROM customers c)",
      0,
      2,
    ],
  ])("%s", (sql, choosing, values) => {
    const { statement, ...given } = ruleInput(judged, "anna", sql);
    if (statement.top === undefined) throw new Error("no query");
    expect(writtenPeople(statement, given, statement.top)).toEqual({ choosing, values });
  });
});

test.each([
  ["SELECT count(*), sum(id) FROM customers", { aggregates: 2, rankings: 0, windows: 0 }],
  ["SELECT (SELECT max(c.id)) FROM customers c", { aggregates: 1, rankings: 0, windows: 0 }],
  [
    "SELECT count(*) OVER (), rank() OVER (ORDER BY id) FROM customers",
    { aggregates: 0, rankings: 2, windows: 0 },
  ],
  ["SELECT lag(name) OVER (ORDER BY id) FROM customers", { aggregates: 0, rankings: 0, windows: 1 }],
  ["SELECT c.count FROM customers c", { aggregates: 1, rankings: 0, windows: 0 }],
  ["SELECT upper(name) FROM customers", { aggregates: 0, rankings: 0, windows: 0 }],
])("calls that summarise rows: %s", (sql, expected) => {
  const { statement, catalog } = ruleInput(judged, "anna", sql);
  expect(summarisingCalls(statement, catalog)).toEqual(expected);
});

describe("people whom a row can identify, each by a column of a reference", () => {
  test.each([
    ["SELECT name FROM customers", ["customers.id"]],
    ["SELECT 1 FROM tickets t JOIN customers c ON c.id = t.customer_id", ["t.customer_id", "c.id"]],
    ["SELECT 1 FROM customers c, LATERAL (SELECT t.id FROM tickets t) s", ["c.id"]],
    ["SELECT n FROM customers c(i, n)", ["c.i"]],
    ["SELECT 1 FROM customers c(i, i)", []],
    ["SELECT 1 FROM customers c, public.customers c", []],
    ["SELECT 1 FROM (tickets t JOIN customers c ON true) j", []],
    ["SELECT 1 FROM tickets c JOIN customers d USING (id) AS c", ["d.id"]],
    ["SELECT DISTINCT country FROM customers", []],
    ["SELECT count(*) FROM customers", []],
    ["SELECT (SELECT count(c.id)) FROM customers c", []],
    ["SELECT FROM customers", []],
    ["TABLE customers", []],
    ["SELECT id FROM customers UNION SELECT id FROM customers", []],
  ])("%s", (sql, people) => {
    const { statement, ...given } = ruleInput(judged, "anna", sql);
    const named = statement.top === undefined ? [] : peopleNamed(statement, given, statement.top);
    expect(named.map(({ reference, exposed }) => `${reference.alias}.${exposed}`)).toEqual(people);
  });
});
