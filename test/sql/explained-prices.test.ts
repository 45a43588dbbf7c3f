import { afterAll, beforeAll, expect, test } from "vitest";
import { explain } from "../../proxy/sql/explanation.ts";
import { type Judged, openJudged } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

const told = (sql: string) => explain(judged.judge("cleo", sql), judged.scope("cleo"), "cleo").metering;

test.each([
  ["SELECT id FROM customers WHERE name LIKE 'A%'", "1/16 of a person for each execution"],
  ["SELECT id FROM customers ORDER BY name LIMIT 5", "9/16 of a person for each execution"],
  ["SELECT id FROM customers ORDER BY name LIMIT 5 OFFSET 5", "1 person for each execution"],
  ["SELECT id FROM customers WHERE name LIKE 'A%' OFFSET $1", "1 person for each execution"],
  // Pages in an order that reveals nothing.
  [
    "SELECT id, name FROM customers ORDER BY created_at LIMIT 5 OFFSET 5",
    "1/16 of a person for each execution",
  ],
  ["SELECT id FROM customers ORDER BY created_at LIMIT 5 FOR UPDATE", "9/16 of a person for each execution"],
  // Each child table, partition and table below a view counts.
  ["EXPLAIN SELECT id FROM customers WHERE name < 'B'", "9/16 of a person for each execution"],
  ["EXPLAIN SELECT id FROM customers WHERE country = 'DE'", "5/16 of a person for each execution"],
  ["EXPLAIN SELECT id FROM contact_log WHERE email < 'B'", "13/16 of a person for each execution"],
  ["EXPLAIN SELECT id FROM tickets_open WHERE subject < 'B'", "13/16 of a person for each execution"],
  // DECLARE plans the cursor's query.
  [
    "DECLARE c CURSOR FOR SELECT id FROM customers WHERE name LIKE 'A%'",
    "1/256 of a person for each execution",
  ],
  [
    "SELECT name FROM customers WHERE id = 7",
    "nothing besides the people whose ids it names, if these can be read; otherwise 1/16 of a person for each execution",
  ],
  [
    "SELECT name FROM customers WHERE id = 7 AND name LIKE 'A%'",
    "1/16 of a person besides the people whose ids it names, if these can be read; otherwise 1/16 of a person for each execution",
  ],
  [
    "SELECT count(*) FROM customers",
    "the people of public.customers.id behind each row as unknown people, or one for each 4 bytes of the row if that is less; a row with at least ten people behind it costs nothing",
  ],
  [
    "SELECT DISTINCT country FROM customers",
    "1 unknown person of public.customers.id a row; one with at least ten people behind it costs nothing",
  ],
  ["SELECT array_agg(name) FROM customers", "the people of public.customers.id behind each row"],
  ["SELECT (SELECT string_agg(name, ',') FROM customers)", "rows by their size, one person for each 4 bytes"],
  ["UPDATE customers SET country = 'x' WHERE country = 'y'", "1 person for each execution"],
])("a DBA reads what a statement costs: %s", (sql, text) => {
  expect(told(sql)).toContain(text);
});
