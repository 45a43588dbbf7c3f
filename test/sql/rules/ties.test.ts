import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { constantBehind, isTiedTo, tiesOf } from "../../../proxy/sql/rules/ties.ts";
import { type Judged, openJudged } from "../judged.ts";
import { referenceNamed, ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `CREATE SCHEMA other;
      CREATE FUNCTION other.always(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
      CREATE OPERATOR other.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = other.always);`,
  });
});
afterAll(() => judged?.close());

function ties(sql: string) {
  const { statement, sights } = ruleInput(judged, "anna", sql);
  const found = tiesOf(statement, sights);
  return {
    isTied: (one: string, other: string) =>
      isTiedTo(found, referenceNamed(statement, one), new Set([referenceNamed(statement, other)])),
    constant: (alias: string) => constantBehind(found, referenceNamed(statement, alias)),
  };
}

describe("rows are restricted to the person of another reference", () => {
  test.each([
    "SELECT 1 FROM customers c JOIN tickets t ON t.customer_id = c.id",
    "SELECT 1 FROM customers c LEFT JOIN tickets t ON t.customer_id = c.id",
    "SELECT 1 FROM customers c, tickets t WHERE c.id = t.customer_id AND t.status = 'open'",
    "SELECT (SELECT count(*) FROM tickets t WHERE t.customer_id = c.id) FROM customers c",
    "SELECT 1 FROM payments t JOIN tickets c USING (customer_id)",
    "SELECT 1 FROM (customers c JOIN payments p ON p.id = c.id) AS j(person), tickets t WHERE t.customer_id = person",
  ])("%s", (sql) => {
    expect(ties(sql).isTied("t", "c")).toBe(true);
  });

  test.each([
    "SELECT 1 FROM customers c RIGHT JOIN tickets t ON t.customer_id = c.id",
    "SELECT 1 FROM customers c FULL JOIN tickets t ON t.customer_id = c.id",
    "SELECT 1 FROM customers c, tickets t WHERE t.customer_id = c.id OR t.id = 7",
    "SELECT 1 FROM customers c, tickets t WHERE NOT t.customer_id = c.id",
    "SELECT 1 FROM customers c, tickets t WHERE t.id = c.id",
    "SELECT 1 FROM customers c, tickets t WHERE t.customer_id OPERATOR(other.=) c.id",
    "SELECT 1 FROM customers c, tickets t WHERE t.customer_id IS NOT DISTINCT FROM c.id",
  ])("not by %s", (sql) => {
    expect(ties(sql).isTied("t", "c")).toBe(false);
  });
});

describe("a constant or a parameter behind a reference's person", () => {
  test.each([
    ["SELECT 1 FROM customers c WHERE id = 7", { place: 37 }],
    ["SELECT 1 FROM customers c WHERE id IN ('7')", { place: 39 }],
    ["SELECT 1 FROM customers c WHERE $2::int8 = id", { parameter: 2 }],
    ["SELECT 1 FROM tickets c JOIN customers x ON x.id = c.customer_id WHERE x.id = $1", { parameter: 1 }],
    ["SELECT 1 FROM payments p LEFT JOIN customers c ON c.id = $1", { parameter: 1 }],
  ])("%s", (sql, constant) => {
    expect(ties(sql).constant("c")).toEqual(constant);
  });

  test.each([
    "SELECT 1 FROM customers c WHERE id IN (7, 8)",
    "SELECT 1 FROM customers c WHERE id = ANY ($1)",
    "SELECT 1 FROM customers c WHERE id = '7'::text::numeric",
    "SELECT 1 FROM customers c LEFT JOIN payments p ON c.id = 7",
    "SELECT 1 FROM customers c WHERE id = 7 OR country = 'DE'",
    "INSERT INTO customers AS c (id) VALUES (7) ON CONFLICT (id) DO UPDATE SET country = 'DE' WHERE c.id = 7",
  ])("none: %s", (sql) => {
    expect(ties(sql).constant("c")).toBeUndefined();
  });
});
