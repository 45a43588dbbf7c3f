import { afterAll, beforeAll, expect, test } from "vitest";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { checkConstraints } from "../../proxy/sql/constraint-warnings.ts";
import { type Judged, openJudged } from "./judged.ts";

const POLICY = `
version: 1
classes: { limit: { mask: "null" }, code: { mask: "null" } }
tables:
  public.credit: { columns: { lim: limit, code: code } }
roles:
  agent: { users: [anna], reads: all, writes: [public.credit], sees: [] }
`;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `
      CREATE TABLE public.credit (id int, wish int, lim int, grp text, code text,
        CONSTRAINT affordable CHECK (wish <= lim), CONSTRAINT positive CHECK (lim > 0), CONSTRAINT named CHECK (grp <> ''),
        CONSTRAINT grp_code UNIQUE (grp, code));
      CREATE TABLE public.credit_old (CONSTRAINT numbered CHECK (id < lim)) INHERITS (public.credit)`,
  });
});
afterAll(() => judged.close());

function warnings(policy: string): readonly string[] {
  const compiled = compilePolicies([{ name: "test.yaml", text: policy }]);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const problems = checkConstraints(compiled.policies.forDatabase(judged.database.database), judged.catalog);
  return problems.map(({ severity, message, hint }) => `${severity}: ${message}. ${hint}`);
}

test("a DBA gets a warning for each constraint that links a visible column to a masked one, children's too", () => {
  const found = warnings(POLICY);
  const of = (name: string) => found.filter((warning) => warning.includes(`"${name}"`));
  expect(of("affordable")).toEqual([
    'warning: check "affordable" of public.credit ties wish to lim, which role "agent" sees masked. An error would show lim: a role that sees it masked may not change wish.',
    expect.stringContaining("public.credit_old"),
  ]);
  expect(of("grp_code")).toEqual([
    expect.stringMatching(/^warning: unique "grp_code" of public\.credit ties grp to code.*"finds:"/),
  ]);
  expect(of("numbered")).toEqual([expect.stringContaining("public.credit_old ties id to lim")]);
  expect(found).toHaveLength(4);
});

test("not if the role sees the column, or does not write the table", () => {
  expect(warnings(POLICY.replace("sees: []", "sees: [limit, code]"))).toEqual([]);
  expect(warnings(POLICY.replace("writes: [public.credit]", "writes: none"))).toEqual([]);
});
