import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged } from "./judged.ts";

/**
 * Functions under `calls:` that may write: no tag counts their writes, and no budget counts what they store about
 * people.
 */

const SETUP = `
  CREATE FUNCTION public.take_ticket(bigint) RETURNS void LANGUAGE sql AS 'UPDATE public.tickets SET assignee = session_user WHERE id = $1';
  CREATE FUNCTION public.normalised(text) RETURNS text STABLE LANGUAGE sql AS 'SELECT lower($1)';
`;
const POLICY = `
version: 1
classes: { name: { mask: initials } }
tables:
  public.customers: { subject: id, columns: { name: name } }
  public.tickets: { subject: customer_id }
roles:
  agent:
    users: [anna]
    reads: all
    writes: [public.tickets]
    sees: [name]
    calls: [public.take_ticket, { public.normalised: shown }]
    changes: 50
    budget: { 1d: 300 }
  slow:
    users: [ben]
    extends: agent
    changes: none
    budget: { 1d: { people: 300, changes: 500 } }
`;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ policy: POLICY, setup: SETUP });
});
afterAll(() => judged?.close());

function ruleOf(user: "anna" | "ben", sql: string): string {
  const verdict = judged.judge(user, sql);
  return verdict.kind === "refuse" ? (verdict.refusal.rule ?? verdict.refusal.message) : "runs";
}

test.each([
  "SELECT take_ticket(7)",
  "SELECT * FROM take_ticket(7)",
  "SELECT public.take_ticket($1)",
  "SELECT take_ticket(7) IS NULL AS done ORDER BY 1",
  "PREPARE take(bigint) AS SELECT take_ticket($1)",
])("is called once: %s", (sql) => {
  expect(ruleOf("anna", sql)).toBe("runs");
});

describe("is not called for many rows, which no tag would count", () => {
  test.each([
    "SELECT count(take_ticket(g)) FROM generate_series(1, 5000) g",
    "SELECT take_ticket(g) FROM generate_series(1, 5000) g",
    "SELECT take_ticket(generate_series(1, 5000))",
    "SELECT take_ticket(x) FROM unnest($1::bigint[]) x",
    "SELECT take_ticket(x) FROM (VALUES (1), (2)) v(x)",
    "VALUES (take_ticket(1)), (take_ticket(2))",
    "SELECT take_ticket(1), take_ticket(2)",
    "SELECT take_ticket(1) UNION ALL SELECT take_ticket(2)",
    "SELECT take_ticket(1) GROUP BY GROUPING SETS ((), (), ())",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5000) SELECT take_ticket(n) FROM r",
    "SELECT (SELECT take_ticket(x) FROM unnest($1::bigint[]) x)",
    "SELECT 1 WHERE (SELECT count(take_ticket(g)) FROM generate_series(1, 700) g) < 0",
    "SELECT take_ticket(x) FROM JSON_TABLE('[1, 2]'::jsonb, '$[*]' COLUMNS (x int PATH '$')) j",
    "COPY (SELECT take_ticket(g) FROM generate_series(1, 5000) g) TO STDOUT",
    "DECLARE k CURSOR FOR SELECT take_ticket(g) FROM generate_series(1, 5000) g",
  ])("%s", (sql) => {
    expect(ruleOf("anna", sql)).toBe("roles.agent.changes");
    expect(ruleOf("ben", sql)).toBe("roles.slow.budget");
  });
});

test.each([
  "SELECT take_ticket(id) FROM tickets WHERE customer_id = 7",
  "SELECT count(take_ticket(1000 * id + ascii(name))) FROM customers WHERE id < 100",
  "SELECT take_ticket((SELECT ascii(name) FROM customers WHERE id = 7))",
  "SELECT id FROM customers WHERE id = 7 AND take_ticket(ascii(name)) IS NULL",
])("stores nothing about people who are not counted: %s", (sql) => {
  expect(judged.judge("anna", sql)).toMatchObject({
    kind: "refuse",
    refusal: { message: expect.stringContaining("in a statement that reads") },
  });
});

test("a function that writes nothing may be called for each row", () => {
  expect(ruleOf("anna", "SELECT normalised(name) FROM customers WHERE id < 9")).toBe("runs");
});
