import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { analyse } from "../../proxy/sql/analyse.ts";
import type { Verdict } from "../../proxy/sql/verdict.ts";
import { type Judged, openJudged } from "./judged.ts";

/* Only bind decides what the names of a statement mean; a relation that the analysis finds elsewhere is refused. */

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: "CREATE TABLE public.pg_am (ours int); GRANT SELECT ON public.pg_am TO PUBLIC;",
  });
});
afterAll(() => judged?.close());

function judgeOn(searchPath: readonly string[], sql: string): Verdict {
  return analyse(sql, { ...judged.scope("anna"), searchPath }, (fault) => {
    throw new Error(fault);
  });
}

describe("a relation that shares its name with one of the system is the one that the server takes", () => {
  test.each([
    [["public"], '"pg_catalog"."pg_am"'],
    [["public", "pg_catalog"], '"public"."pg_am"'],
    [["pg_catalog", "public"], '"pg_catalog"."pg_am"'],
  ])("on the path %s", async (path, expected) => {
    const verdict = judgeOn(path, "SELECT * FROM pg_am");
    if (verdict.kind !== "rewrite") throw new Error(verdict.kind);
    expect(verdict.sql.toString()).toBe(`SELECT * FROM ${expected}`);
    await judged.database.query(`SET search_path = ${path.join()}`);
    const { rows } = await judged.database.query(
      "SELECT format('%I.%I', relnamespace::regnamespace, relname) AS name FROM pg_class WHERE oid = 'pg_am'::regclass",
    );
    expect(rows).toEqual([{ name: expected.replaceAll('"', "") }]);
  });
});

test.each([
  "EXECUTE p((SELECT email FROM customers WHERE id = 7))",
  "EXECUTE p(EXISTS (SELECT FROM customers))",
])("a subquery where Postgres has none is refused: %s", (sql) => {
  expect(judged.judge("anna", sql)).toMatchObject({
    kind: "refuse",
    refusal: { sqlstate: "42501", message: "EXECUTE takes no subquery" },
  });
});
