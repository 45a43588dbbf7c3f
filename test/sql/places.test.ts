import fc from "fast-check";
import type { Node, SelectStmt } from "libpg-query";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "../../proxy/parser/parser.ts";
import { OrderedEdits } from "../../proxy/sql/emit/ordered-edits.ts";
import { extraFields } from "../../proxy/sql/verdict.ts";
import { type Judged, openJudged, POLICY } from "./judged.ts";

/* Where text is inserted, whatever names a client gives its columns, tables and labels. */

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: POLICY.replace(
      "    writes: [public.tickets]\n    sees: [name, email",
      "    writes: [public.tickets]\n    rows: 50\n    on_excess: truncate\n    sees: [name, email",
    ),
    setup: `
      ALTER TABLE public.customers ADD points int DEFAULT 1;
      CREATE TABLE public.notes (id bigint, body text UNIQUE, "from" text, "having" text);
      INSERT INTO public.notes VALUES (1, 'a', 'b', 'c');
      CREATE FUNCTION public.upper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, ben, cleo, metabase;`,
  });
});
afterAll(() => judged.close());

function sent(user: "anna" | "ben" | "metabase", sql: string): string {
  const verdict = judged.judge(user, sql);
  if (verdict.kind === "refuse") throw new Error(`${verdict.refusal.message}: ${sql}`);
  return verdict.kind === "rewrite" ? verdict.sql.toString() : sql;
}

/** The outermost query of the last statement. */
function outermost(sql: string): SelectStmt {
  const node = parse(sql).stmts?.at(-1)?.stmt;
  if (node === undefined || !("SelectStmt" in node)) throw new Error(`no query: ${sql}`);
  return node.SelectStmt;
}

function names(list: readonly Node[] = []): readonly (string | undefined)[] {
  return list.map((node) => (node as { ResTarget?: { name?: string } }).ResTarget?.name);
}

function count(tree: unknown, found: (key: string, value: unknown) => boolean): number {
  if (typeof tree !== "object" || tree === null) return 0;
  return Object.entries(tree).reduce(
    (sum, [key, value]) => sum + (found(key, value) ? 1 : 0) + count(value, found),
    0,
  );
}

const TARGETS = [
  "c.id AS rows",
  "'7'::text rows",
  "c.name AS from",
  'c.country "from"',
  "c.name AS as",
  "c.country AS having",
  "c.name distinct",
  "c.country AS distinct",
  "c.country IS DISTINCT FROM 'DE' AS distinct",
  "c.id IS NOT DISTINCT FROM 7",
  "(c.id, 1) IS DISTINCT FROM (7, c.id)",
  "c.id IS DISTINCT FROM (SELECT 1 FROM notes)",
  "CASE WHEN c.country IS DISTINCT FROM 'x' THEN 1 END AS end",
  "EXISTS (SELECT 1 FROM notes c)",
  "(SELECT n.from FROM notes n LIMIT 1)",
  "EXISTS (SELECT FROM notes c)",
  "ARRAY[c.id, 1] IS DISTINCT FROM ARRAY[2::bigint]",
  "extract(year FROM c.created_at) AS year",
  "substring(c.name FROM 1 FOR 2)",
  "trim(both FROM c.name) AS both",
  "' from ' AS limit",
  "$x$ FROM having $x$",
  "c.id /* FROM notes */",
  "c.id -- FROM notes\n",
  "c.name AS U&\"fr!006fm\" UESCAPE '!'",
  'U&"c".U&"!0069d" UESCAPE \'!\'',
  "c.id AS uescape",
  "'x' AS \"sluice subject\"",
  'c.name AS "sluice purpose"',
  "c.created_at AT TIME ZONE 'UTC' AS window",
  'c.id::text COLLATE "C" AS returning',
  "count(*) OVER (PARTITION BY c.country ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS rows",
] as const;

const BEFORE = [
  "",
  "",
  "(SELECT FROM notes c) s, ",
  "(SELECT 1 AS from FROM notes) AS rows, ",
  "(SELECT) s, ",
  "(VALUES (1)) AS v, ",
  "(WITH x AS (SELECT FROM notes) SELECT FROM x) s, ",
  "ROWS FROM (generate_series(1, 1)) AS rows, ",
  "LATERAL (SELECT 1 FROM notes ORDER BY 1 LIMIT 1) AS l, ",
  "ONLY (notes) AS s, ",
  "((notes JOIN notes AS o ON true) CROSS JOIN notes AS p), ",
];
const OWN = [
  "customers c",
  "ONLY customers c",
  "ONLY (customers) AS c",
  "public.customers AS c",
  "customers * c",
  "U&\"!0063ustomers\" UESCAPE '!' c",
];
const LEADS = [
  "",
  "",
  "WITH x AS (SELECT 1 FROM notes c) ",
  "WITH rows AS (SELECT 1 AS from FROM notes) ",
  "SELECT 1 FROM notes c LIMIT 1; ",
];

const rows = fc
  .tuple(
    fc.constantFrom(...LEADS),
    fc.array(fc.constantFrom(...TARGETS), { minLength: 1, maxLength: 3 }),
    fc.constantFrom(...BEFORE),
    fc.constantFrom(...OWN),
    fc.constantFrom("", " ORDER BY c.id LIMIT 3", " OFFSET 0", " FOR UPDATE OF c", " ;", " -- FROM"),
    fc.boolean(),
  )
  .map(([lead, targets, before, own, tail, isInParentheses]) => {
    const query = `SELECT ${targets.join(", ")} FROM ${before}${own} WHERE c.id IN (7, 8)${tail}`;
    return { lead, targets, sql: `${lead}${isInParentheses && !/;|--/.test(tail) ? `(${query})` : query}` };
  });

test("the appended columns end the outermost target list, and are nowhere else", () => {
  fc.assert(
    fc.property(rows, ({ targets, sql }) => {
      const verdict = judged.judge("anna", sql);
      if (verdict.kind !== "rewrite") throw new Error(`${JSON.stringify(verdict)}: ${sql}`);
      const statement = verdict.statements.at(-1);
      const extra = statement === undefined ? 0 : extraFields(statement);
      expect(extra, sql).toBe(1);
      const text = verdict.sql.toString();
      const list = names(outermost(text).targetList);
      expect(list.length, text).toBe(targets.length + extra);
      expect(list.slice(-extra), text).toEqual(["sluice subject"]);
      const own = targets.filter((target) => target.endsWith('"sluice subject"')).length;
      expect(count(parse(text), (key, value) => key === "name" && value === "sluice subject")).toBe(
        own + extra,
      );
    }),
    { numRuns: 1_500, seed: 2019 },
  );
});

test("the result is what the client asked for", { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(rows, async ({ sql, lead }) => {
      if (lead.includes(";") || sql.includes("FOR UPDATE")) return;
      const direct = await judged.database.query(sql);
      const { fields, rows: received } = await judged.run("anna", sql);
      expect(
        fields.map(({ name }) => name),
        sql,
      ).toEqual(direct.fields.map(({ name }) => name));
      expect(received.length, sql).toBe(direct.rows.length);
    }),
    { numRuns: 150, seed: 2019 },
  );
});

const GROUPED = [
  "count(*) rows",
  "count(*) AS from",
  "sum(c.points) AS having",
  "(count(c.id))::text AS limit",
  "avg(c.points) distinct",
  "count(*) IS DISTINCT FROM 3 AS offset",
  "trim(both FROM count(*)::text) AS for",
  "coalesce(count(c.country), count(*)) /* FROM x HAVING */ AS order",
];

/** Besides people there are only tables, with one row for each person. */
const BESIDE = [
  ["", ""],
  ["", ""],
  ["ONLY (notes) AS s JOIN ", " ON s.body = c.country"],
  ["(notes * AS o JOIN ", " ON o.body = c.country)"],
] as const;

const groups = fc
  .tuple(
    fc.constantFrom(...LEADS),
    fc.array(fc.constantFrom(...GROUPED), { minLength: 1, maxLength: 2 }),
    fc.constantFrom(...BESIDE),
    fc.constantFrom(...OWN),
    fc.constantFrom("", " HAVING count(*) > 1", " HAVING count(*) > 1 OR abs(count(c.id)) > 3"),
    fc.constantFrom(
      "",
      " ORDER BY c.country",
      " ORDER BY c.country LIMIT 3",
      " UNION ALL SELECT 'x', NULL LIMIT 1",
      " ;",
    ),
    fc.boolean(),
  )
  .map(([lead, targets, [before, on], own, having, tail, isBelow]) => {
    const query = `SELECT c.country AS where, ${targets.join(", ")} FROM ${before}${own}${on} WHERE c.country > '' GROUP BY c.country${having}${
      targets.length === 1 ? tail : tail.replace("NULL", "NULL, NULL")
    }`;
    const isUnion = tail.includes("UNION");
    const isWrapped = isBelow && !isUnion && !tail.includes(";");
    const sql = `${lead}${isWrapped ? `SELECT 1 AS from FROM (${query}) AS rows ORDER BY 1` : query}`;
    return { having, tail, isUnion, isWrapped, sql };
  });

test("the minimum size of groups is in the HAVING of the query that it is meant for, and nowhere else", () => {
  fc.assert(
    fc.property(groups, ({ sql, having, tail, isUnion, isWrapped }) => {
      const text = sent("metabase", sql);
      const top = outermost(text);
      const query = isWrapped ? inFrom(top) : isUnion ? top.larg : top;
      const condition = JSON.stringify(query?.havingClause ?? {});
      expect(condition, text).toContain('"agg_distinct":true');
      if (having !== "") expect(condition, text).toMatch(/^\{"CaseExpr":.*"booltesttype":"IS_NOT_TRUE"/);
      expect(
        count(parse(text), (key) => key === "havingClause"),
        text,
      ).toBe(1);
      const isFenced = isWrapped && !tail.includes("LIMIT");
      expect(query?.limitOffset !== undefined, text).toBe(isFenced);
      expect(
        count(parse(text), (key) => key === "limitOffset"),
        text,
      ).toBe(isFenced ? 1 : 0);
    }),
    { numRuns: 300, seed: 2019 },
  );
});

/** The subquery that a query reads from. */
function inFrom({ fromClause = [] }: SelectStmt): SelectStmt | undefined {
  const [item] = fromClause as { RangeSubselect?: { subquery?: { SelectStmt: SelectStmt } } }[];
  return item?.RangeSubselect?.subquery?.SelectStmt;
}

describe("clauses of writes", () => {
  test.each([
    "UPDATE ONLY (tickets) SET status = 'x' WHERE id = 7 RETURNING id",
    "UPDATE tickets AS t SET status = 'x' WHERE (t.id) = (7) RETURNING t.id AS rows",
    "UPDATE tickets SET status = 'returning' RETURNING id AS returning",
    "DELETE FROM ONLY (tickets) RETURNING id AS from",
    "DELETE FROM ONLY (tickets) AS uescape",
    "DELETE FROM tickets WHERE id = 7 AND (status = 'open') RETURNING (subject)",
    "EXPLAIN UPDATE tickets SET status = 'x' RETURNING id; -- RETURNING",
    "PREPARE p AS DELETE FROM tickets WHERE id = 7 RETURNING id /* ; */",
  ])("%s", (sql) => {
    for (const user of ["anna", "ben"] as const) {
      const verdict = judged.judge(user, sql);
      // A user who sees only a part may have no plan of it.
      if (verdict.kind === "refuse") expect(verdict.refusal.message).not.toMatch(/could not be analysed/);
    }
  });

  test("an upsert of groups ends before ON CONFLICT", () => {
    const select = "SELECT count(*), country FROM customers JOIN notes ON conflict(1) GROUP BY country";
    const wrong = `INSERT INTO notes (id, body) ${select.replace("conflict(1)", "true")} ON CONFLICT DO NOTHING`;
    const verdict = judged.judge("metabase", wrong);
    if (verdict.kind === "refuse") expect(verdict.refusal.message).not.toMatch(/could not be analysed/);
  });
});

test("edits of names inside a replaced range are dropped, and no others", () => {
  const at = (...places: number[]) =>
    new OrderedEdits(places.map((place) => ({ at: place, end: place, text: "x." })));
  const names = at(9, 3, 14, 5, 10, 20);
  const replaced = new OrderedEdits([
    { at: 5, end: 10, text: "true" },
    { at: 12, end: 16, text: "" },
  ]);
  expect(names.outside(replaced).map((edit) => edit.at)).toEqual([3, 10, 20]);
  expect(names.within(5, 10).map((edit) => edit.at)).toEqual([5, 9]);
  expect(names.outside(at()).length).toBe(6);
});

describe("schemas of functions whose names are not unique", () => {
  test.each([
    ["ben", "UPDATE tickets SET status = upper('x') WHERE status = 'open' RETURNING upper(status)"],
    [
      "metabase",
      "SELECT upper(country), count(*) FROM customers GROUP BY upper(country) HAVING upper(country) > 'A'",
    ],
    ["anna", "SELECT id FROM customers WHERE email = upper('x')"],
    ["anna", "SELECT upper(email) FROM customers WHERE email = upper('x') OR country = upper('de')"],
  ] as const)("%s: %s", (user, sql) => {
    expect(sent(user, sql).replaceAll("pg_catalog.upper(", "")).not.toContain("upper(");
  });
});

test.each([
  ["ben", "COPY (SELECT id AS copy FROM tickets WHERE (region = 'eu')) TO STDOUT"],
  ["ben", "COPY tickets (id, subject) TO STDOUT"],
  ["ben", "COPY BINARY tickets TO STDOUT"],
  ["ben", "COPY (WITH x AS (SELECT (1)) TABLE tickets) TO STDOUT"],
  ["anna", "COPY (SELECT id FROM customers WHERE id = 7) TO STDOUT; COPY (SELECT 1) TO STDOUT"],
  ["anna", "EXPLAIN (SELECT id FROM customers WHERE id = 7)"],
  ["anna", "EXPLAIN (COSTS OFF, FORMAT json) (SELECT id FROM customers c)"],
  ["anna", "SELECT id FROM customers uescape WHERE id = 7"],
  ["anna", "SELECT uescape.id FROM customers uescape, notes WHERE uescape.id = 7"],
  ["anna", "TABLE customers"],
  ["anna", "SELECT public.customers.id FROM public.customers WHERE public.customers.id = 7"],
  ["anna", "SELECT public.customers.* FROM customers WHERE email = U&'!0061' UESCAPE '!'"],
  ["anna", "SELECT email FROM customers TABLESAMPLE bernoulli (10) REPEATABLE (1) WHERE id = 7"],
  ["anna", "SELECT email FROM customers c TABLESAMPLE U&\"b!0065rnoulli\" UESCAPE '!' ((10))"],
  ["anna", "SELECT FROM customers WHERE id = 7"],
  ["anna", "SELECT FROM (SELECT FROM notes) s, customers c WHERE c.id = 7"],
  ["metabase", "SELECT country FROM customers GROUP BY (country)"],
  [
    "metabase",
    "SELECT collation for (max(country)) FROM customers GROUP BY country ORDER BY collation for (max(country))",
  ],
  ["ben", "SELECT t.id, t.subject FROM tickets t GROUP BY (t.id) ORDER BY t.subject"],
  ["ben", "SELECT t.id, t.subject FROM tickets t GROUP BY ROW(t.id) = ROW(1), t.id HAVING count(*) > 0"],
  ["anna", "SELECT t.id, t.body FROM tickets t GROUP BY 1, t.id"],
] as const)("%s: %s", (user, sql) => {
  const verdict = judged.judge(user, sql);
  if (verdict.kind === "refuse")
    expect(verdict.refusal.message).not.toMatch(/could not be analysed|did not verify/);
});
