import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { treeText } from "../../proxy/parser/parser.ts";
import type { Change } from "../../proxy/sql/emit/text-changes.ts";
import { Source } from "../../proxy/sql/parse/source.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { sightsOf } from "../../proxy/sql/sight.ts";
import type { MadeEdit } from "../../proxy/sql/verdict.ts";
import { faultOf, isTargetList } from "../../proxy/sql/verify/verify.ts";
import { type Judged, openJudged } from "./judged.ts";

let judge: Judged;
let scope: Scope;
beforeAll(async () => {
  judge = await openJudged();
  scope = judge.scope("anna");
});
afterAll(() => judge.close());

const LIST = `"id", pg_catalog.left("name", 1) AS "name"`;

/** Replaces each of these words by a subquery, as the analysis would. */
function wrapping(sql: string, ...words: readonly string[]): readonly MadeEdit[] {
  const placeOf = (word: string) => Buffer.byteLength(sql.slice(0, sql.indexOf(word)));
  return words.map((word) => ({
    ...{ at: placeOf(word), end: placeOf(word) + word.length },
    text: `(SELECT ${LIST} FROM "public"."customers") AS "${word.split(".").at(-1)}"`,
    list: LIST,
    change: { kind: "relation", location: placeOf(word) },
  }));
}

function left(sql: string, edits: readonly MadeEdit[] = []): ReturnType<typeof faultOf> {
  const nothing = { bareNames: new Set<number>(), targets: new Set<number>(), tree: treeText(sql) };
  return faultOf(scope, sightsOf(scope), new Source(sql), edits, nothing);
}

test("a guarded relation that the analysis missed is found, and so is one without a schema", () => {
  expect(left("SELECT 1")).toBeUndefined();
  expect(left("SELECT * FROM customers")).toBe("customers");
  expect(left("SELECT * FROM public.customers")).toBe("public.customers");
  expect(left("SELECT (SELECT count(*) FROM public.customers)")).toBe("public.customers");
  expect(left("SELECT * FROM pg_catalog.pg_authid")).toBe("pg_catalog.pg_authid");
});

test("it is also found next to, before, after and inside the analysis' own subqueries", () => {
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

test("a rewritten text that does not parse is reported", () => {
  const sql = "SELECT * FROM aaaa bbbb";
  expect(left(sql, wrapping(sql, "aaaa"))).toBe("a text that does not parse");
});

test("a statement that becomes too long when it is rewritten is refused, without reporting a fault of Sluice", () => {
  const stars = Array.from({ length: 800 }, () => "*").join(", ");
  // judge() throws if a fault is reported.
  const verdict = judge.judge("anna", `UPDATE tickets SET status = 'x' WHERE id = 7 RETURNING ${stars}`);
  expect(verdict).toMatchObject({
    kind: "refuse",
    stage: "verify",
    refusal: { sqlstate: "54001", message: expect.stringContaining("longer than") },
  });
});

describe("a target list is removed only if it is one, and names no relation", () => {
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

test("a text that is declared a list but is not one does not hide its contents", () => {
  const sql = "SELECT * FROM aaaa, public.tickets, bbbb";
  const list = "1 FROM aaaa, public.customers, (SELECT 2";
  const [edit] = wrapping(sql, "aaaa");
  if (edit === undefined) throw new Error("no edit");
  const text = `(SELECT ${list} FROM "public"."customers") x) AS "y"`;
  const bare = { at: edit.at, end: edit.end, text };
  expect(left(sql, [{ ...bare, list }])).toBe(left(sql, [bare]));
  expect(left(sql, [{ ...bare, list }])).not.toBeUndefined();
});

describe("the text of a summary is at its node, or the tree differs from the client's", () => {
  const CALL = `CAST((SELECT 5 AS "count" FROM (SELECT 1 AS b) AS g) AS bigint)`;
  const CASE = "CASE WHEN (1 > 0) IS NOT TRUE THEN false ELSE (";
  const STRAY = /^(?:a change is not where it should be|something else has changed)$/;

  /** The fault of a text in which `from` was replaced by `to`, declared as a change; further edits declare none. */
  function fault(sql: string, change: Change, ...edits: readonly (readonly [from: string, to: string])[]) {
    const made = edits.map(([from, to], index) => {
      const at = sql.indexOf(from);
      // A word in brackets only gives the position.
      const end = to.includes("[]") ? at : at + from.length;
      return { at, end, text: to.replace("[]", ""), ...(index === 0 && { change }) };
    });
    return left(sql, made);
  }

  const CALLS = "SELECT count(1), count(2), sum(count(3)) HAVING count(4) > 0";
  const callAt = (call: string, name = "count"): Change => ({
    kind: "summary",
    location: CALLS.indexOf(call),
    name,
  });

  test("a subquery in place of a call", () => {
    for (const call of ["count(1)", "count(2)", "count(3)", "count(4)"]) {
      expect(fault(CALLS, callAt(call), [call, CALL]), call).toBeUndefined();
      const another = call === "count(1)" ? "count(2)" : "count(1)";
      expect(fault(CALLS, callAt(another), [call, CALL]), call).toMatch(STRAY);
    }
    expect(fault(CALLS, callAt("sum(", "sum"), ["sum(count(3))", CALL])).toMatch(STRAY);
    expect(fault(CALLS, callAt("sum(", "count"), ["sum(count(3))", CALL])).toMatch(STRAY);
    expect(fault(CALLS, callAt("count(1)"), ["count(1)", `${CALL}, 2`])).toMatch(STRAY);
    expect(fault(CALLS, callAt("count(1)"), ["count(1)", `${CALL} + 1`])).toMatch(STRAY);
    expect(fault(CALLS, callAt("count(1)"), ["count(1)", "count(7)"])).toMatch(STRAY);
    expect(fault(CALLS, callAt("count(2)"), ["count(1), count(2)", CALL])).toMatch(STRAY);
    expect(fault(CALLS, callAt("count(1)"), ["count(1)", CALL.replace("count", "other")])).toMatch(STRAY);
  });

  const GROUPS = "SELECT 1 AS a FROM (SELECT 2 AS b HAVING 3 > 0 ORDER BY 4) s HAVING 5 > 0 ORDER BY 6";
  const inner = GROUPS.indexOf("2 AS b");
  const outer = GROUPS.indexOf("1 AS a");

  test("a condition that guards the client's own", () => {
    const around = (first: string, last: string, text = CASE, end = "[]) END ") =>
      [
        [first, `[]${text}`],
        [last, end],
      ] as const;
    const having = (last: number): Change => ({ kind: "having", last });
    expect(fault(GROUPS, having(inner), ...around("3 > 0", "ORDER BY 4"))).toBeUndefined();
    expect(fault(GROUPS, having(outer), ...around("5 > 0", "ORDER BY 6"))).toBeUndefined();
    expect(fault(GROUPS, having(outer), ...around("3 > 0", "ORDER BY 4"))).toMatch(STRAY);
    expect(fault(GROUPS, having(inner), ...around("5 > 0", "ORDER BY 6"))).toMatch(STRAY);
    for (const other of [
      CASE.replace("IS NOT TRUE", "IS TRUE"),
      CASE.replace("false", "true"),
      CASE.replace("THEN", "THEN true WHEN true THEN"),
      "1 > 0 AND (",
    ]) {
      const end = other.startsWith("CASE") ? undefined : "[]) ";
      expect(fault(GROUPS, having(inner), ...around("3 > 0", "ORDER BY 4", other, end)), other).toMatch(
        STRAY,
      );
    }
    const more = around("3 > 0", "ORDER BY 4", CASE, "[]) END OR true ");
    expect(fault(GROUPS, having(inner), ...more)).toMatch(STRAY);
  });

  test("an OFFSET that keeps conditions out", () => {
    const fence = (last: number): Change => ({ kind: "fence", last });
    expect(fault(GROUPS, fence(inner), [") s", "[] OFFSET 0 "])).toBeUndefined();
    expect(fault(GROUPS, fence(outer), [") s", "[] OFFSET 0 "])).toMatch(STRAY);
    expect(fault(GROUPS, fence(inner), [") s", "[] OFFSET 1 "])).toMatch(STRAY);
    expect(fault(GROUPS, fence(inner), [") s", "[] LIMIT 0 "])).toMatch(STRAY);
    expect(fault(GROUPS, fence(inner), [") s", "[] OFFSET 0 LIMIT 9 "])).toMatch(STRAY);
  });
});
