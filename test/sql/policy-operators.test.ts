import { afterAll, beforeAll, expect, test } from "vitest";
import { parseCondition } from "../../proxy/policy/policy-sql.ts";
import { strangeOperator } from "../../proxy/policy/strange-operator.ts";
import { type Judged, openJudged, POLICY } from "./judged.ts";

/** User-defined operators that an expression of the policy may mean: their code would run on real values. */

const SETUP = `
  CREATE FUNCTION public.takes_note(text, varchar) RETURNS bool LANGUAGE sql AS 'SELECT true';
  CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = varchar, FUNCTION = public.takes_note);
  CREATE OPERATOR public.<= (LEFTARG = text, RIGHTARG = varchar, FUNCTION = public.takes_note);
  CREATE OPERATOR public.~~ (LEFTARG = text, RIGHTARG = varchar, FUNCTION = public.takes_note);
`;
const open = async (policy: string): Promise<Judged> => openJudged({ policy, setup: SETUP });
/** Each writes out Postgres's own operator. */
const QUALIFIED = POLICY.replace("assignee = :user", "assignee OPERATOR(pg_catalog.=) :user").replace(
  "region = 'eu'",
  "region OPERATOR(pg_catalog.=) 'eu'",
);

let unsure: Judged;
let sure: Judged;
beforeAll(async () => {
  unsure = await open(
    POLICY.replace(
      "text:  { mask: redact }",
      "text:  { mask: { sql: \"CASE value WHEN '' THEN '' ELSE left(value, 1) END\" } }",
    ),
  );
  sure = await open(QUALIFIED);
});
afterAll(async () => {
  await unsure?.close();
  await sure?.close();
});

test("a condition of sight that may mean one shows nothing, and a mask hides all", async () => {
  const sql = "SELECT DISTINCT body FROM tickets WHERE assignee IS NOT NULL";
  const asked = sql.replace("assignee IS NOT NULL", "id > 0");
  expect((await unsure.run("anna", asked)).rows).toEqual([[null]]);
  expect((await sure.run("anna", asked)).rows.length).toBeGreaterThan(1);
});

test("a row filter that may mean one closes its table", () => {
  const verdict = unsure.judge("ben", "SELECT id FROM tickets");
  expect(verdict.kind === "refuse" && verdict.refusal).toMatchObject({
    sqlstate: "42501",
    rule: "roles.european.only",
  });
});

test.each([
  ["=", "region = 'eu'"],
  ["=", "region IN ('eu')"],
  ["<=", "region BETWEEN 'a' AND 'f'"],
  ["~~", "region LIKE 'e%'"],
  ["=", "NULLIF(region, 'eu') IS NULL"],
  ["=", "region IS NOT DISTINCT FROM 'eu'"],
  ["=", "CASE region WHEN 'eu' THEN true END"],
  ["=", "region = ANY (ARRAY['eu'])"],
  ["=", "region IN (SELECT t.region FROM public.tickets t)"],
  ["<=", "region <= ALL (SELECT t.region FROM public.tickets t)"],
  ["=", "EXISTS (SELECT 1 FROM public.tickets t JOIN public.tickets o USING (region))"],
  ["=", "EXISTS (SELECT 1 FROM public.tickets t NATURAL JOIN public.tickets o)"],
  [undefined, "region OPERATOR(pg_catalog.=) 'eu'"],
  [undefined, "region < 'eu' OR id IS NULL"],
])("%s is what may be meant by %s", (operator, condition) => {
  const parsed = parseCondition(condition);
  expect(parsed.ok && strangeOperator(parsed.use, unsure.catalog)?.name).toBe(operator);
});

test("one that names Postgres's own is in force", async () => {
  const { rows } = await sure.run("ben", "SELECT DISTINCT region FROM tickets");
  expect(rows).toEqual([["eu"]]);
});
