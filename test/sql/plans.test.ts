import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged, POLICY } from "./judged.ts";

/** anna sees a ticket's text if it is assigned to her, phones as tokens, and her work is checked against a purpose. */
const TOKENS = POLICY.replace("phone: { mask: { last: 2 } }", "phone: { mask: { token: ph } }").replace(
  "    budget: { 1d: 300 }",
  `    budget: { 1d: 300 }
    purpose: { public.customers: "exists (select from public.tickets t where t.customer_id = customers.id and t.assignee = :user)" }`,
);

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ policy: TOKENS });
});
afterAll(() => judged.close());

describe("a plan shows no condition of the policy, and no key", () => {
  test.each([
    "SELECT * FROM tickets",
    "SELECT body FROM tickets WHERE body LIKE 'x%' ORDER BY subject",
    "SELECT body, count(*) FROM tickets GROUP BY body",
    "SELECT c.name, c.phone, t.subject FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.phone > 'x'",
    "SELECT DISTINCT phone FROM customers",
    "UPDATE tickets SET status = 'x' WHERE id = 7 RETURNING *",
    "DECLARE c CURSOR FOR SELECT * FROM tickets",
  ])("%s", async (sql) => {
    if (sql.startsWith("DECLARE")) {
      const verdict = judged.judge("anna", `EXPLAIN ${sql}`);
      expect(verdict.kind === "refuse" && verdict.refusal.message).toContain("DECLARE CURSOR");
      return;
    }
    const { rows } = await judged.run("anna", `EXPLAIN ${sql}`);
    const plan = JSON.stringify(rows);
    expect(plan).toMatch(/Scan/);
    expect(plan).not.toMatch(/assignee|anna|hmac|sha256|SubPlan|InitPlan|cost/);
  });

  test("and is refused if it would show a row filter", () => {
    const verdict = judged.judge("ben", "EXPLAIN SELECT id FROM tickets");
    expect(verdict.kind === "refuse" && verdict.refusal.rule).toBe("roles.european.only");
  });
});
