import { expect, test } from "vitest";
import { type Explanation, explanationText } from "../../proxy/sql/explanation.ts";
import { refuse } from "../../proxy/wire/refusal.ts";

const PASSES: Explanation = {
  user: "anna",
  role: "agent",
  database: "support",
  policy: "0a1b2c3d4e5f",
  mode: "enforce",
  verdict: "passes unchanged",
  reads: [],
  writes: [],
  masked: [],
  lookups: 0,
  counts: [],
  reveals: [],
  limits: [],
  notices: [],
  metering: [],
};

test("a DBA reads the reason of a refusal, and the policy line to change", () => {
  const refusal = refuse("42501", 'role "agent" may not read public.payments', {
    hint: 'Add it under "reads:" of role "agent".',
    rule: "roles.agent.reads",
  });
  const text = explanationText({ ...PASSES, verdict: "is refused", refusal, stage: "rules" });
  expect(text.split("\n")).toEqual([
    "who       anna, role agent, database support",
    "policy    0a1b2c3d4e5f",
    "verdict   is refused, by the policy and Sluice's rules (rules)",
    'reason    42501: role "agent" may not read public.payments',
    'hint      Add it under "reads:" of role "agent".',
    "rule      roles.agent.reads",
    "",
  ]);
});

test("a DBA reads what is masked, counted, and sent in place of the statement", () => {
  const text = explanationText({
    ...PASSES,
    verdict: "is rewritten",
    reads: ["public.customers"],
    masked: ["email", "phone"],
    lookups: 1,
    limits: ["100 rows", "an error past them"],
    sent: "SELECT 1",
  });
  expect(text).toContain("masked    email, phone\n");
  expect(text).toContain("lookups   1\n");
  expect(text).toMatch(/sent to the server:\n\nSELECT 1\n$/);
});

test("a policy that only observes says that nothing is changed", () => {
  expect(explanationText({ ...PASSES, mode: "observe" })).toContain("the statement goes through as it is");
});
