import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gatheringsOf } from "../../../proxy/sql/rules/gathering.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `CREATE FUNCTION public.add_text(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1 || $2';
      CREATE AGGREGATE public.glued(text) (SFUNC = public.add_text, STYPE = text);
      CREATE FUNCTION public.shown(bigint) RETURNS text LANGUAGE sql AS 'SELECT name FROM customers WHERE id = $1';`,
  });
});
afterAll(() => judged?.close());

function gatherings(sql: string, castFunctions = 0): readonly string[] {
  const { statement, ...given } = ruleInput(judged, "anna", sql);
  return gatheringsOf(statement, { ...given, castFunctions }).map(({ what }) => what);
}

describe("one person's rows", () => {
  test.each([
    "SELECT json_agg(t) FROM tickets t WHERE t.customer_id = 7",
    "SELECT json_agg(t) FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.id = 7",
    "SELECT (SELECT json_agg(t) FROM tickets t WHERE t.customer_id = c.id) FROM customers c",
    "WITH t AS (SELECT * FROM tickets WHERE customer_id = 7) SELECT json_agg(t) FROM t",
    "SELECT json_agg(a) FROM pg_attribute a",
    "SELECT count(*), max(t.id) FROM tickets t",
  ])("%s", (sql) => {
    expect(gatherings(sql)).toEqual([]);
  });
});

describe("many people's rows", () => {
  test.each([
    ["SELECT json_agg(t) FROM tickets t", "json_agg()"],
    ["SELECT string_agg(t.status, ',') OVER () FROM tickets t", "string_agg()"],
    // A name inside one person's row may be anyone's.
    [
      "SELECT json_agg(ARRAY[c.name, t.status]) FROM tickets t, customers c WHERE t.customer_id = 7 AND c.id = t.id",
      "json_agg()",
    ],
    [
      "SELECT json_agg(json_build_array(t.id, (SELECT c.name FROM customers c WHERE c.id = t.id))) FROM tickets t WHERE t.customer_id = 7",
      "json_agg()",
    ],
    ["SELECT json_agg(ARRAY[t.status, shown(t.id)]) FROM tickets t WHERE t.customer_id = 7", "json_agg()"],
    [
      "SELECT (SELECT json_agg(c.name) FROM tickets t WHERE t.customer_id = 7) FROM customers c",
      "json_agg()",
    ],
    ["SELECT json_agg((SELECT max(c.name) FROM customers c)) FROM generate_series(1, 3)", "json_agg()"],
    ["WITH t AS (SELECT * FROM tickets) SELECT json_agg(t) FROM t", "json_agg()"],
    ["SELECT ARRAY(SELECT t.id FROM tickets t)", "ARRAY(…)"],
    ["SELECT JSON_ARRAYAGG(t.id) FROM tickets t", "JSON_ARRAYAGG"],
    ["SELECT JSON_OBJECTAGG(t.id: t.status) FROM tickets t", "JSON_OBJECTAGG"],
    ["SELECT JSON_ARRAY(SELECT t.id FROM tickets t)", "JSON_ARRAY(…)"],
    ["SELECT glued(t.status) FROM tickets t WHERE t.customer_id = 7", "glued()"],
    [
      "SELECT percentile_disc(ARRAY[0.1, 0.2]) WITHIN GROUP (ORDER BY id) FROM tickets",
      "percentile_disc() of several values",
    ],
    ["WITH RECURSIVE r AS (SELECT name FROM customers) SELECT * FROM r", "WITH RECURSIVE"],
  ])("%s", (sql, what) => {
    expect(gatherings(sql)).toContain(what);
  });

  test("a cast may add other people", () => {
    const sql = "SELECT json_agg(t) FROM tickets t WHERE t.customer_id = 7";
    expect(gatherings(sql, 1)).toEqual(["json_agg()"]);
  });

  test("an aggregate can be called as a field", () => {
    expect(gatherings("SELECT t.array_agg FROM tickets t")).toEqual(["array_agg()"]);
  });
});
