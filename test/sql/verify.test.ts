import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { treeText } from "../../proxy/parser/parser.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { sightsOf } from "../../proxy/sql/sight.ts";
import { Source } from "../../proxy/sql/source.ts";
import type { MadeEdit } from "../../proxy/sql/verdict.ts";
import { faultOf, isTargetList } from "../../proxy/sql/verify.ts";
import { type Judged, openJudged } from "./judged.ts";

let judge: Judged;
let scope: Scope;
beforeAll(async () => {
  judge = await openJudged();
  scope = judge.scope("anna");
});
afterAll(() => judge.close());

const LIST = `"id", pg_catalog.left("name", 1) AS "name"`;

/** Puts a subquery in the place of each of these words, as the analysis would. */
function wrapping(sql: string, ...words: readonly string[]): readonly MadeEdit[] {
  const placeOf = (word: string) => Buffer.byteLength(sql.slice(0, sql.indexOf(word)));
  return words.map((word) => ({
    ...{ at: placeOf(word), end: placeOf(word) + word.length },
    text: `(SELECT ${LIST} FROM "public"."customers") AS "${word.split(".").at(-1)}"`,
    list: LIST,
    change: { kind: "relation", location: placeOf(word) },
  }));
}

function left(sql: string, edits: readonly MadeEdit[] = []): string | undefined {
  const nothing = { bareNames: new Set<number>(), targets: new Set<number>(), tree: treeText(sql) };
  return faultOf(scope, sightsOf(scope), new Source(sql), edits, nothing);
}

test("a guarded relation that the analysis has forgotten is found, and one without a schema", () => {
  expect(left("SELECT 1")).toBeUndefined();
  expect(left("SELECT * FROM customers")).toBe("customers");
  expect(left("SELECT * FROM public.customers")).toBe("public.customers");
  expect(left("SELECT (SELECT count(*) FROM public.customers)")).toBe("public.customers");
  expect(left("SELECT * FROM pg_catalog.pg_authid")).toBe("pg_catalog.pg_authid");
});

test("beside, before, behind and within subqueries of the analysis' own it is found as well", () => {
  const both = "SELECT * FROM aaaa, public.customers";
  expect(left(both, wrapping(both, "aaaa"))).toBe("public.customers");
  expect(left(both, wrapping(both, "aaaa", "public.customers"))).toBeUndefined();
  const before = "SELECT * FROM public.customers JOIN aaaa ON true";
  expect(left(before, wrapping(before, "aaaa"))).toBe("public.customers");
  const condition = "SELECT * FROM aaaa WHERE EXISTS (SELECT FROM public.customers)";
  expect(left(condition, wrapping(condition, "aaaa"))).toBe("public.customers");
  const umlauts = "SELECT 'äöü', 1 FROM aaaa, public.customers";
  expect(left(umlauts, wrapping(umlauts, "aaaa"))).toBe("public.customers");
});

test("a text that does not parse once it is rewritten is told", () => {
  const sql = "SELECT * FROM aaaa bbbb";
  expect(left(sql, wrapping(sql, "aaaa"))).toBe("a text that does not parse");
});

describe("a target list is left out only if it is one, and names nothing", () => {
  test.each([LIST, "1", '"a" AS "b", CASE WHEN x THEN 1 END', "*, ctid", `'FROM y' AS "--"`])(
    "%s",
    (list) => {
      expect(isTargetList(list)).toBe(true);
    },
  );
  test.each([
    "",
    "1 FROM public.customers --",
    "1 FROM public.customers, y) a, (SELECT 1",
    "1 FROM y UNION SELECT 2",
    "1 INTO z",
    "DISTINCT 1",
    "(SELECT 1 FROM public.customers)",
    "1 /*",
    "1; SELECT 2",
    "1 '",
    "1 FROM y WHERE true OR EXISTS (SELECT 1",
  ])("%s", (list) => {
    expect(isTargetList(list)).toBe(false);
  });
});

test("what is said to be a list and is none does not hide what stands in it", () => {
  const sql = "SELECT * FROM aaaa, public.tickets, bbbb";
  const list = "1 FROM aaaa, public.customers, (SELECT 2";
  const [edit] = wrapping(sql, "aaaa");
  if (edit === undefined) throw new Error("no edit");
  const text = `(SELECT ${list} FROM "public"."customers") x) AS "y"`;
  const bare = { at: edit.at, end: edit.end, text };
  expect(left(sql, [{ ...bare, list }])).toBe(left(sql, [bare]));
  expect(left(sql, [{ ...bare, list }])).not.toBeUndefined();
});
