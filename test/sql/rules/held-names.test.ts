import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { namesToHold } from "../../../proxy/sql/rules/held-names.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup:
      "CREATE TABLE public.shops (id bigint, phone text, email text, customers text); GRANT ALL ON public.shops TO anna;",
  });
});
afterAll(() => judged?.close());

/** `alias.name`, or `?.name` if it cannot be qualified. Anna does not see addresses and numbers of customers. */
function held(sql: string): readonly string[] {
  const { statement, sights } = ruleInput(judged, "anna", sql);
  return namesToHold(statement, sights).map(({ name, holder }) => `${holder?.alias ?? "?"}.${name}`);
}

describe("a name that could come to mean a hidden value of the target is qualified by its relation", () => {
  test.each([
    ["UPDATE customers SET country = (SELECT phone FROM shops)", ["shops.phone"]],
    ["DELETE FROM customers WHERE id IN (SELECT s.id FROM shops s WHERE email = 'a')", ["s.email"]],
    [
      "DELETE FROM customers WHERE id = (SELECT j.id FROM (shops s JOIN payments p ON true) j(id) WHERE email = 'a')",
      ["j.email"],
    ],
    [
      "DELETE FROM customers WHERE id = (SELECT s.id FROM shops s JOIN payments p ON true WHERE email = 'a')",
      ["s.email"],
    ],
    [
      "DELETE FROM customers WHERE EXISTS (SELECT FROM shops s JOIN shops t USING (email) WHERE email = 'a')",
      ["?.email"],
    ],
    ["DELETE FROM customers WHERE id = (SELECT (SELECT email FROM payments s) FROM shops s)", ["?.email"]],
    // The table's name means its whole row.
    ["DELETE FROM customers WHERE id = (SELECT 1 FROM shops WHERE customers = 'x')", ["shops.customers"]],
    [
      "INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET country = (SELECT phone FROM shops)",
      ["shops.phone"],
    ],
    ["UPDATE customers SET country = 'x' RETURNING (SELECT phone FROM shops)", ["shops.phone"]],
  ])("%s", (sql, expected) => {
    expect(held(sql)).toEqual(expected);
  });
});

describe("a name that cannot come to mean one stays unchanged", () => {
  test.each([
    "SELECT phone FROM shops",
    "UPDATE shops SET phone = (SELECT phone FROM shops s)",
    "INSERT INTO customers (id, country) SELECT id, phone FROM shops",
    "UPDATE customers SET country = (SELECT country FROM payments, shops WHERE customers.id = 1)",
    "UPDATE customers SET country = (SELECT shops.phone FROM shops)",
    // A subquery has the columns that its text lists.
    "UPDATE customers SET country = (SELECT phone FROM (SELECT s.phone FROM shops s) x)",
    "UPDATE customers SET country = (SELECT email FROM contact_log)",
    "UPDATE customers SET country = (SELECT s.id::text AS phone FROM shops s ORDER BY phone)",
  ])("%s", (sql) => {
    expect(held(sql)).toEqual([]);
  });
});
