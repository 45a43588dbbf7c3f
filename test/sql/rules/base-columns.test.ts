import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BoundRelation } from "../../../proxy/sql/bind/bound.ts";
import { columnsMeant, shownColumns } from "../../../proxy/sql/rules/base-columns.ts";
import { groupingsByKey } from "../../../proxy/sql/rules/grouped-keys.ts";
import { namesToShorten } from "../../../proxy/sql/rules/unqualified-names.ts";
import { unwrappable } from "../../../proxy/sql/rules/wrapped.ts";
import { type Judged, openJudged, POLICY } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: POLICY.replace(
      "tables:",
      "unclassified: mask\ntables:\n  public.pairs: { columns: { a: name, b: name } }",
    ),
    setup: "CREATE TABLE public.pairs (a text, b text); GRANT SELECT ON public.pairs TO cleo;",
  });
});
afterAll(() => judged?.close());

const nameOf = ({ alias }: BoundRelation): string => alias;

/** All table columns that a statement names, by names and stars: `alias.column`, and `alias.*` for all of them. */
function named(sql: string): readonly string[] {
  const { statement } = ruleInput(judged, "anna", sql);
  const found = [...statement.meanings.values()].map(columnsMeant);
  return [
    ...found.flatMap(({ columns }) => columns.map(({ relation, name }) => `${nameOf(relation)}.${name}`)),
    ...found.flatMap(({ wholes }) => wholes.map((each) => `${nameOf(each)}.*`)),
  ].sort();
}

describe("a name means columns of tables", () => {
  test.each([
    ["SELECT name FROM customers c", ["c.name"]],
    ["SELECT n FROM customers c(i, n)", ["c.n"]],
    ["SELECT j.status FROM (tickets t JOIN customers c ON true) j", ["t.status"]],
    ["SELECT j FROM (tickets t JOIN customers c ON true) j", ["c.*", "t.*"]],
    ["SELECT * FROM tickets t JOIN customers c ON true", ["c.*", "t.*"]],
    ["SELECT email FROM customers c JOIN contact_log l USING (email)", ["c.email", "l.email"]],
    ["SELECT x.e FROM (SELECT email AS e FROM customers c) x", ["c.email"]],
    ["SELECT ctid, c FROM customers c", ["c.*", "c.ctid"]],
    ["SELECT lower(country) AS name FROM customers c ORDER BY name", ["c.country"]],
    ["SELECT (SELECT name FROM generate_series(1, 1) g) FROM customers c", ["c.name"]],
    [
      "INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
      ["customers.id"],
    ],
    ["UPDATE customers SET country = 'x' RETURNING old.country, new.*", ["customers.*", "customers.country"]],
  ])("%s", (sql, expected) => {
    expect(named(sql)).toEqual(expected);
  });
});

test.each([
  ["SELECT 1 FROM tickets t NATURAL JOIN customers c", ["t", "c"]],
  ["SELECT 1 FROM payments p, (tickets t JOIN customers c ON true) j", ["t", "c"]],
  ["SELECT 1 FROM tickets t JOIN customers c USING (id)", []],
])("a join may show all columns of its sides: %s", (sql, expected) => {
  const { statement } = ruleInput(judged, "anna", sql);
  expect([...shownColumns(statement).wholes].map(nameOf)).toEqual(expected);
});

test.each(["SELECT 1 FROM pairs NATURAL JOIN pairs p", "SELECT 1 FROM (pairs JOIN pairs p ON true) j"])(
  "and such a side has no column that was made since the last look: %s",
  (sql) => {
    const verdict = judged.judge("cleo", sql);
    const sent = verdict.kind === "rewrite" ? verdict.sql.toString() : "";
    expect(sent.match(/\(SELECT "a", "b" FROM "public"."pairs"\)/g)).toHaveLength(2);
  },
);

test("a join by named columns needs no list", () => {
  const verdict = judged.judge("cleo", "SELECT 1 FROM pairs JOIN pairs p USING (a)");
  expect(verdict.kind === "rewrite" && verdict.sql.toString()).not.toContain("(SELECT");
});

test("system columns are of the reference that has them", () => {
  const sql = "SELECT c.ctid, (SELECT tableoid FROM tickets t), c.xmin FROM customers c, payments p";
  const { systemColumns } = shownColumns(ruleInput(judged, "anna", sql).statement);
  expect([...systemColumns].map(([reference, names]) => [nameOf(reference), [...names]])).toEqual([
    ["c", ["ctid", "xmin"]],
    ["t", ["tableoid"]],
  ]);
});

test.each([
  ["SELECT public.customers.id, customers.name FROM customers", 1],
  ["SELECT public.customers.* FROM public.customers WHERE public.customers.id = 7", 2],
  ["SELECT public.customers.id FROM public.customers AS customers", 0],
  ["UPDATE customers SET country = 'x' WHERE public.customers.id = 7", 0],
  ["SELECT (SELECT public.customers.id FROM tickets AS customers) FROM customers", 0],
])(
  "a name loses its schema where a subquery stands for the relation, and it means that without: %s",
  (sql, names) => {
    const { statement, sights } = ruleInput(judged, "anna", sql);
    expect(namesToShorten(statement, sights).size).toBe(names);
  },
);

test.each([
  ["SELECT t.subject FROM tickets t GROUP BY t.id", ["subject"]],
  ["SELECT t.* FROM tickets t GROUP BY id HAVING count(*) > 0", undefined],
  ["SELECT n FROM tickets t(i, c, n) GROUP BY i ORDER BY n", ["n"]],
  ["SELECT count(*) FROM tickets t GROUP BY t.id", []],
  ["SELECT t.subject FROM tickets t GROUP BY t.subject", []],
  ["SELECT t.subject FROM tickets t GROUP BY ROLLUP (t.id)", []],
])("columns that hang on the key by which rows are grouped: %s", (sql, columns) => {
  const { statement, sights } = ruleInput(judged, "anna", sql);
  const shown = shownColumns(statement);
  const found = statement.queries.flatMap((query) => groupingsByKey(sights, shown, query));
  if (columns === undefined) expect(found[0]?.columns.length).toBeGreaterThan(3);
  else expect(found.flatMap((each) => each.columns)).toEqual(columns);
});

test.each([
  ["SELECT ctid, id FROM customers c", undefined],
  ["SELECT ctid, * FROM customers c", /without its system column ctid/],
  ["SELECT c.xmin, c FROM customers c", /without its system column xmin/],
  ["SELECT ctid, * FROM pg_class", undefined],
])("no subquery shows a system column in a star: %s", (sql, refusal) => {
  const { statement, ...given } = ruleInput(judged, "anna", sql);
  const shown = shownColumns(statement);
  const [first] = statement.queries.flatMap(({ relations }) =>
    relations.flatMap((each) => unwrappable(given, shown, each) ?? []),
  );
  expect(first?.message).toEqual(refusal === undefined ? undefined : expect.stringMatching(refusal));
});
