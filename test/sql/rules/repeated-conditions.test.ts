import { afterAll, beforeAll, expect, test } from "vitest";
import { repeatedConditions } from "../../../proxy/sql/rules/repeated-conditions.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

/** For ben, who sees only the tickets of a region: `alias.column operator`. */
function repeated(sql: string): readonly string[] {
  const { statement, ...given } = ruleInput(judged, "ben", sql);
  return repeatedConditions(statement, given).map(
    ({ reference, comparison }) => `${reference.alias}.${comparison.column.name} ${comparison.operator}`,
  );
}

test.each([
  ["SELECT id FROM tickets WHERE id = 7 AND 3 < customer_id", ["tickets.id =", "tickets.customer_id >"]],
  ["SELECT id FROM tickets t WHERE id IN (7, $1) AND status = ANY ($2)", ["t.id ="]],
  ["SELECT t.id FROM customers c JOIN tickets t ON t.id = 7 AND t.customer_id = c.id", ["t.id ="]],
])("a plain comparison is repeated inside the fence: %s", (sql, expected) => {
  expect(repeated(sql)).toEqual(expected);
});

test.each([
  "SELECT id FROM tickets WHERE status LIKE 'o%'",
  "SELECT id FROM tickets WHERE id = length($1)",
  "SELECT c.id FROM customers c LEFT JOIN tickets t ON t.id = 7",
  "SELECT c.id FROM customers c LEFT JOIN tickets t ON true WHERE t.id = 7",
  "SELECT id FROM customers WHERE id = 7",
  "UPDATE tickets SET status = 'x' WHERE id = 7",
])("a condition that can fail, or that restricts no rows of the table, is not: %s", (sql) => {
  expect(repeated(sql)).toEqual([]);
});
