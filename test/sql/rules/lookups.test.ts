import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lookupsOf } from "../../../proxy/sql/rules/lookups.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

/** What anna, who may search by email and phone, looks up: `alias.column`, for each comparison. */
function searched(sql: string): readonly string[] {
  const { statement, ...given } = ruleInput(judged, "anna", sql);
  return lookupsOf(statement, given).flatMap(({ reference, searches }) =>
    searches.map(({ sight }) => `${reference.alias}.${sight.column.name}`),
  );
}

describe("a condition that tests exact values is a lookup", () => {
  test.each([
    ["SELECT id FROM customers WHERE email = 'a'", ["customers.email"]],
    ["SELECT id FROM customers WHERE (email)::text = ('a')::character varying", ["customers.email"]],
    ["SELECT id FROM customers WHERE email = text 'a'", ["customers.email"]],
    [
      "SELECT id FROM customers WHERE 'a' || $1 = lower(email) AND phone IN ($2)",
      ["customers.email", "customers.phone"],
    ],
    ["SELECT c.id FROM tickets t JOIN customers c ON c.id = t.customer_id AND c.email = 'a'", ["c.email"]],
    // A column that a join exposes belongs to its side.
    ["SELECT t.id FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE email = 'a'", ["c.email"]],
    [
      "SELECT j.email FROM (tickets t JOIN customers c ON c.id = t.customer_id) j WHERE email = 'a'",
      ["c.email"],
    ],
    ["SELECT 1 FROM tickets t LEFT JOIN (customers c JOIN payments p ON c.email = 'a') ON true", ["c.email"]],
    [
      "SELECT (SELECT c.id FROM customers c WHERE c.email = t.status) FROM tickets t WHERE EXISTS (SELECT FROM customers d WHERE phone = '1')",
      ["d.phone"],
    ],
    // IS NOT NULL removes the rows from which an outer join has left the reference out.
    [
      "SELECT t.id FROM tickets t LEFT JOIN customers c ON c.id = t.customer_id WHERE (c.email = 'a' AND (c.id IS NOT NULL))",
      ["c.email"],
    ],
    [
      "SELECT 1 FROM tickets t LEFT JOIN (customers c LEFT JOIN payments p ON true) ON true WHERE p.id IS NOT NULL AND c.email = 'a'",
      ["c.email"],
    ],
    [
      "SELECT 1 FROM tickets t FULL JOIN customers c ON true WHERE c.id IS NOT NULL AND c.email = 'a'",
      ["c.email"],
    ],
    [
      "SELECT id FROM customers WHERE email ILIKE $1 ESCAPE '\\' AND phone LIKE ('1') ESCAPE ('\\')",
      ["customers.email", "customers.phone"],
    ],
    [
      "UPDATE customers SET country = 'DE' WHERE email = 'a' OR phone = ANY ('{1,2}')",
      ["customers.email", "customers.phone"],
    ],
  ])("%s", (sql, expected) => {
    expect(searched(sql)).toEqual(expected);
  });
});

describe("a condition that an outer join leaves out, or that another person's value decides, is not a lookup", () => {
  test.each([
    "SELECT t.id FROM tickets t LEFT JOIN customers c ON c.email = 'a'",
    "SELECT t.id FROM tickets t LEFT JOIN customers c ON true WHERE c.email = 'a'",
    "SELECT t.id FROM tickets t FULL JOIN customers c ON true WHERE c.email = 'a'",
    "SELECT t.id FROM tickets t LEFT JOIN customers c ON true WHERE c.email = 'a' AND c.id IS NULL",
    "SELECT t.id FROM tickets t LEFT JOIN customers c ON true WHERE c.email = 'a' AND t.id IS NOT NULL",
    "SELECT t.id FROM tickets t LEFT JOIN customers c ON true WHERE c.email = 'a' AND (c.id IS NOT NULL OR t.id = 7)",
    "SELECT t.id FROM tickets t FULL JOIN customers c ON true WHERE c.email = 'a' AND t.id IS NOT NULL",
    "SELECT t.id FROM tickets t LEFT JOIN customers c ON c.email = 'a' WHERE c.id IS NOT NULL",
    "SELECT id FROM customers WHERE email LIKE 'a' ESCAPE '/'",
    "SELECT id FROM customers WHERE email LIKE 'a' ESCAPE $1",
    "SELECT id FROM customers WHERE email NOT LIKE 'a' ESCAPE '\\'",
    "SELECT id FROM customers WHERE email SIMILAR TO 'a' ESCAPE '\\'",
    "SELECT id FROM customers c WHERE c.email = 'a' OR EXISTS (SELECT FROM tickets)",
    "SELECT c.id FROM customers c, customers d WHERE c.email = 'a' OR d.email = 'b'",
    "SELECT c.id FROM customers c, customers d WHERE c.email = d.email",
    "SELECT id FROM customers WHERE email = 'a' IS TRUE",
    "SELECT id FROM customers WHERE email OPERATOR(pg_catalog.=) 'a'",
    "SELECT id FROM customers WHERE email = NULL",
    "SELECT (SELECT 1 WHERE c.email = 'a') FROM customers c",
    "SELECT id FROM customers GROUP BY id HAVING max(email) = 'a'",
  ])("%s", (sql) => {
    expect(searched(sql)).toEqual([]);
  });
});

test("a role that may search by nothing looks no one up", () => {
  const { statement, ...given } = ruleInput(judged, "cleo", "SELECT id FROM customers WHERE email = 'a'");
  expect(lookupsOf(statement, given)).toEqual([]);
});
