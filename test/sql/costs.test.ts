import { afterAll, beforeAll, expect, test } from "vitest";
import { type Judged, openJudged } from "./judged.ts";

const POLICY = `
version: 1
classes:
  name:  { mask: initials }
  email: { mask: email, cost: 2 }
  card:  { mask: "null", cost: 5 }
tables:
  public.customers: { subject: id, columns: { name: name, email: email } }
  public.payments: { subject: customer_id, columns: { card_number: card } }
roles:
  agent: { users: [anna], reads: all, sees: [name], finds: [email, card], budget: { 1d: 300 } }
  lead: { users: [cleo], reads: all, writes: all, sees: [name, card, { email: { when: "id < 5" } }], budget: { 1d: 300 } }
`;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: POLICY,
    setup: "CREATE VIEW card_ends AS SELECT customer_id, right(card_number, 4) AS card_end FROM payments",
  });
});
afterAll(() => judged.close());

function cost(user: "anna" | "cleo", sql: string): number {
  const verdict = judged.judge(user, sql);
  if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
  const [statement] = verdict.statements;
  if (statement?.metering === undefined) throw new Error("it reads nobody");
  return statement.metering.cost ?? 1;
}

test.each([
  ["a dear class in the clear", "SELECT card_number FROM payments", 5],
  ["a whole row with it", "SELECT * FROM payments p", 5],
  ["a row made into a value", "SELECT to_jsonb(p) FROM payments p", 5],
  ["one of a subquery", "SELECT id FROM (SELECT * FROM payments) p", 5],
  ["a condition on it", "SELECT id FROM payments WHERE card_number LIKE '4%'", 5],
  ["a join by it", "SELECT a.id FROM payments a JOIN payments b USING (card_number)", 5],
  ["a join by all names", "SELECT 1 FROM payments a NATURAL JOIN payments b", 5],
  ["COPY of the table", "COPY payments TO STDOUT", 5],
  ["what a view makes of it", "SELECT card_end FROM card_ends", 5],
  ["one that is seen in some rows", "SELECT email FROM customers", 2],
  [
    "the dearer of two",
    "SELECT c.*, p.card_number FROM customers c JOIN payments p ON p.customer_id = c.id",
    5,
  ],
  ["what a write gives back", "DELETE FROM payments WHERE id = 1 RETURNING card_number", 5],
  ["what a write gives back of before", "UPDATE payments SET id = id RETURNING old.card_number", 5],
  [
    "what it gives back under another name",
    "UPDATE payments SET id = id RETURNING WITH (OLD AS o) o.card_number",
    5,
  ],
  ["what it gives back whole", "DELETE FROM payments RETURNING WITH (OLD AS o) o", 5],
  [
    "what a MERGE gives back",
    "MERGE INTO payments p USING (VALUES (1)) v(i) ON p.id = v.i WHEN MATCHED THEN DELETE RETURNING WITH (OLD AS o) o.card_number",
    5,
  ],
])("a statement that reads %s counts its people this many times", (_, sql, expected) => {
  expect(cost("cleo", sql)).toBe(expected);
});

test.each([
  ["other columns of the row", "cleo", "SELECT id, amount FROM payments"],
  ["COPY of other columns", "cleo", "COPY payments (id, amount) TO STDOUT"],
  ["the mask", "anna", "SELECT card_number, email FROM payments p, customers c"],
] as const)("a statement that reads %s counts them once", (_, user, sql) => {
  expect(cost(user, sql)).toBe(1);
});

test("a person looked up by an expensive class counts as several, although it stays masked", () => {
  expect(cost("anna", "SELECT customer_id FROM payments WHERE card_number = '4111111111111111'")).toBe(5);
});
