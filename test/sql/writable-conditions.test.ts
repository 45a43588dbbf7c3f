import { afterAll, beforeAll, expect, test } from "vitest";
import { compilePolicies } from "../../proxy/policy/load.ts";
import { checkWritableConditions } from "../../proxy/sql/writable-conditions.ts";
import { type Judged, openJudged, POLICY } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged.close());

function warnings(policy: string): readonly string[] {
  const compiled = compilePolicies([{ name: "test.yaml", text: policy }]);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const problems = checkWritableConditions(
    compiled.policies.forDatabase(judged.database.database),
    judged.catalog,
  );
  return problems.map(({ severity, message }) => `${severity}: ${message}`);
}

test("a DBA is warned of a condition on a column that its role may write", () => {
  expect(warnings(POLICY)).toEqual([
    'warning: role "agent" sees class "text" by a condition on public.tickets.assignee, which it may write itself',
  ]);
});

test("not where the role does not write the table", () => {
  expect(warnings(POLICY.replace("writes: [public.tickets, public.customers]", "writes: none"))).toEqual([]);
});

test("nor where the column is masked for it: a masked column cannot be assigned", () => {
  const masked = POLICY.replace(
    "columns: { subject: text, body: text }",
    "columns: { subject: text, body: text, assignee: email }",
  );
  expect(warnings(masked)).toEqual([]);
});
