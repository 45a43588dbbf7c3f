import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lookupsOf } from "../../../proxy/sql/rules/lookups.ts";
import { unfilteredReferences } from "../../../proxy/sql/rules/required-filters.ts";
import { type Judged, openJudged, POLICY } from "../judged.ts";
import { ruleInput } from "./view.ts";

/** `european` reads customers only with a condition, sees everything except the names, and may search by them. */
const REQUIRING = POLICY.replace(
  "writes: [public.tickets]\n    sees: [name, email",
  "writes: all\n    finds: [name]\n    sees: [email",
);

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: REQUIRING,
    setup: "CREATE INDEX ON public.customers (name); CREATE INDEX ON public.customers (country);",
  });
});
afterAll(() => judged?.close());

function unfiltered(sql: string): readonly string[] {
  const { statement, ...given } = ruleInput(judged, "ben", sql);
  return unfilteredReferences(statement, given, lookupsOf(statement, given)).map(({ alias }) => alias);
}

describe("restricted", () => {
  test.each([
    "SELECT * FROM customers WHERE id = 7",
    "SELECT * FROM customers WHERE id = ANY ($1::bigint[]) OFFSET 3",
    "SELECT * FROM customers WHERE 7 = id AND name LIKE 'A%'",
    "SELECT * FROM customers WHERE id BETWEEN 1 AND 9",
    "SELECT * FROM customers WHERE lower(name) = 'a'",
    "SELECT * FROM customers WHERE name = 'a' OR name = 'b' AND country = 'DE'",
    "SELECT * FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.id = 7",
    "SELECT * FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE status = 'open'",
    "SELECT * FROM tickets t LEFT JOIN customers c ON c.id = t.customer_id WHERE status = 'open'",
    "SELECT * FROM tickets t JOIN customers c USING (id) WHERE id = 7",
    "SELECT (SELECT c.name FROM customers c WHERE c.id = t.customer_id) FROM tickets t WHERE status = 'open'",
    "SELECT n FROM tickets t, LATERAL (SELECT c.name AS n FROM customers c WHERE c.id = t.customer_id) l WHERE status = 'open'",
    "UPDATE customers SET country = 'x' WHERE id = 7",
    "DELETE FROM customers WHERE CURRENT OF x",
    "MERGE INTO customers c USING (VALUES (7)) v(n) ON c.id = 7 WHEN MATCHED THEN DELETE",
    "INSERT INTO customers (id) VALUES (1)",
    "SELECT * FROM tickets",
  ])("%s", (sql) => {
    expect(unfiltered(sql)).toEqual([]);
  });
});

describe("read or written as a whole", () => {
  test.each([
    ["SELECT * FROM customers", ["customers"]],
    ["SELECT * FROM customers WHERE id > 7", ["customers"]],
    ["SELECT * FROM customers WHERE id = 7 OR true", ["customers"]],
    ["SELECT * FROM customers WHERE birth_date = '2000-01-01'", ["customers"]],
    ["SELECT * FROM customers WHERE name = 'a' OR birth_date = '2000-01-01'", ["customers"]],
    ["SELECT * FROM customers WHERE name LIKE 'a%'", ["customers"]],
    ["SELECT * FROM customers WHERE id IN (SELECT customer_id FROM tickets)", ["customers"]],
    ["SELECT * FROM customers WHERE id OPERATOR(pg_catalog.=) 7", ["customers"]],
    ["SELECT * FROM tickets t JOIN customers c ON c.id = t.customer_id", ["c"]],
    ["SELECT * FROM tickets t JOIN customers c ON c.country = t.status WHERE t.status = 'open'", ["c"]],
    // Rows of the other side are present whatever the condition says.
    ["SELECT * FROM customers c LEFT JOIN tickets t ON c.id = 7", ["c"]],
    ["SELECT * FROM customers c FULL JOIN tickets t ON c.id = 7", ["c"]],
    ["SELECT * FROM customers c LEFT JOIN tickets t ON c.id = t.customer_id AND t.id = 7", ["c"]],
    [
      "UPDATE customers SET country = 'x' FROM tickets t WHERE customers.id = t.customer_id AND status = 'open'",
      ["customers"],
    ],
    ["UPDATE tickets SET status = 'x' FROM customers c WHERE tickets.customer_id = c.id", ["c"]],
    ["MERGE INTO customers c USING tickets t ON c.id = 7 WHEN NOT MATCHED BY SOURCE THEN DELETE", ["c"]],
    ["MERGE INTO tickets t USING customers c ON c.id = 7 WHEN MATCHED THEN DELETE", ["c"]],
    ["COPY customers TO STDOUT", ["customers"]],
    ["SELECT * FROM customers c WHERE EXISTS (SELECT FROM customers d WHERE d.id = c.id)", ["d", "c"]],
  ])("%s", (sql, expected) => {
    expect(unfiltered(sql)).toEqual(expected);
  });
});
