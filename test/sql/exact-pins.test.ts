import { afterAll, beforeAll, expect, test } from "vitest";
import { type Judged, openJudged } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `
      CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      CREATE TABLE anycase (code text COLLATE nocase PRIMARY KEY, name text);
      CREATE TABLE bytewise (code text COLLATE "C" PRIMARY KEY, name text);
      CREATE TABLE ordinary (code text PRIMARY KEY, name text);
      CREATE TABLE padded (code char(4) PRIMARY KEY, name text);
      GRANT SELECT ON anycase, bytewise, ordinary, padded TO cleo;`,
    policy: `version: 1
classes: { name: { mask: redact } }
tables:
${["anycase", "bytewise", "ordinary", "padded"].map((name) => `  public.${name}: { subject: code, columns: { name: name } }\n`).join("")}
roles:
  lead: { users: [cleo], reads: all, sees: [name], budget: { 1d: 600 } }
`,
  });
});
afterAll(() => judged?.close());

// 'ABC' would be taken for a person who is counted, and the row is that of 'abc'.
test.each([
  ["ordinary", true],
  ["bytewise", true],
  ["anycase", false],
  ["padded", false],
])("a constant identifies the person of %s only if no other spelling equals it", (table, isPinned) => {
  const verdict = judged.judge("cleo", `SELECT name FROM ${table} WHERE code = 'ABC'`);
  if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
  expect(verdict.statements[0]?.metering?.price?.pins !== undefined).toBe(isPinned);
});

test("a mask fits a column whose collation does not tell cases apart", async () => {
  await judged.database.query("INSERT INTO anycase VALUES ('abc', 'Alice Ng')");
  expect((await judged.run("cleo", "SELECT name FROM anycase WHERE code = 'ABC'")).rows).toEqual([
    ["Alice Ng"],
  ]);
  const masking = judged.withPolicy(`version: 1
classes: { code: { mask: email } }
tables: { public.anycase: { columns: { code: code } } }
roles: { lead: { users: [cleo], reads: all } }
`);
  const verdict = masking.judge("cleo", "SELECT code FROM anycase");
  if (verdict.kind !== "rewrite") throw new Error(verdict.kind);
  expect((await judged.database.query(verdict.sql.toString())).rows).toEqual([{ code: "[redacted]" }]);
});
