import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sightsOf } from "../../proxy/sql/sight.ts";
import { type Judged, openJudged } from "./judged.ts";

/*
 * Groups that name no protected column are nearly free. But a view may select its rows by a protected column, and then the number of
 * its rows reveals something about that column.
 */

const BY_PROTECTED: Readonly<Record<string, string>> = {
  condition: "SELECT id, country FROM customers WHERE name LIKE 'A%'",
  join: "SELECT c.id, c.country FROM customers c JOIN customers d ON d.email = c.email AND d.id <> c.id",
  using: "SELECT c.id, c.country FROM customers c JOIN contact_log l USING (email)",
  subquery: "SELECT s.id, s.country FROM (SELECT * FROM customers WHERE phone IS NULL) s",
  output_of_subquery:
    "SELECT s.id, s.country FROM (SELECT id, country, upper(name) AS n FROM customers) s WHERE s.n < 'B'",
  with_query: "WITH w AS (SELECT id, country FROM customers WHERE name < 'B') SELECT id, country FROM w",
  with_column:
    "WITH w AS (SELECT id, country, name AS n FROM customers) SELECT id, country FROM w WHERE n < 'B'",
  recursive:
    "WITH RECURSIVE r(id, country, n) AS (SELECT id, country, name FROM customers WHERE id = 1 UNION ALL SELECT c.id, c.country, c.name FROM r JOIN customers c ON c.id = r.id + 1) SELECT id, country FROM r WHERE n > 'B'",
  exists:
    "SELECT id, country FROM customers c WHERE EXISTS (SELECT FROM tickets t WHERE t.customer_id = c.id AND t.body LIKE '%7')",
  any: "SELECT id, country FROM customers c WHERE name = ANY (SELECT d.name FROM customers d WHERE d.id <> c.id)",
  except:
    "SELECT id, country FROM (SELECT id, country, name FROM customers EXCEPT SELECT id, country, name FROM customers WHERE id < 9) s",
  distinct: "SELECT DISTINCT ON (name) id, country FROM customers",
  group: "SELECT max(id) AS id, country FROM customers GROUP BY country, name",
  having: "SELECT id, country FROM customers GROUP BY id, country HAVING min(name) < 'B'",
  first: "SELECT id, country FROM customers ORDER BY name LIMIT 700",
  made: "SELECT c.id, c.country FROM customers c, generate_series(1, length(c.name)) g",
  many: "SELECT id, country, regexp_split_to_table(name, '') AS letter FROM customers",
  whole_row: "SELECT id, country FROM customers c WHERE c IS NOT NULL",
  view: "SELECT id, country FROM v_condition",
  column_of_view: "SELECT id, country FROM customer_directory WHERE email LIKE '%7%'",
};

const OTHERWISE: Readonly<Record<string, string>> = {
  columns: "SELECT id, country, name, lower(email) AS email FROM customers WHERE country <> 'X'",
  value_of_subquery:
    "SELECT id, country, (SELECT max(t.body) FROM tickets t WHERE t.customer_id = c.id) AS last FROM customers c",
  union_all:
    "SELECT id, country, name FROM customers WHERE id < 500 UNION ALL SELECT id, country, name FROM customers WHERE id >= 500",
  in_subquery:
    "SELECT s.id, s.country, s.name FROM (SELECT * FROM customers) s JOIN (SELECT DISTINCT customer_id FROM tickets) t ON t.customer_id = s.id",
  sorted: "SELECT id, country, name FROM customers ORDER BY name",
  grouped: "SELECT id, country, count(*) AS n, max(name) AS name FROM customers GROUP BY id, country",
  window: "SELECT id, country, rank() OVER (ORDER BY country, id) AS place, name FROM customers",
};

const VIEWS = Object.entries({ ...BY_PROTECTED, ...OTHERWISE })
  .map(([name, sql]) => `CREATE VIEW public.v_${name} AS ${sql};`)
  .join("\n");

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `${VIEWS}
      CREATE TABLE public.secured (id bigint, customer_id bigint REFERENCES public.customers, email text, country text);
      ALTER TABLE public.secured ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON public.secured USING (email LIKE '%7%');
      CREATE TABLE public.visits (id bigint PRIMARY KEY, country text);`,
    policy: POLICY,
  });
});
afterAll(() => judged?.close());

const POLICY = `
version: 1
classes: { name: { mask: initials }, email: { mask: email }, text: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { name: name, email: email, phone: text } }
  public.tickets: { subject: customer_id, columns: { subject: text, body: text } }
  public.contact_log: { subject: customer_id, columns: { email: email } }
  public.secured: { subject: customer_id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: all, writes: all, sees: all, budget: { 1d: 300 } }
  part:
    users: [ben]
    reads: all
    sees: all
    only: { public.tickets: "body LIKE '%7%'", public.customers: "country <> 'X'" }
    budget: { 1d: 300 }
`;

function isChosen(name: string, user: "anna" | "ben" = "anna"): boolean | undefined {
  const relation = judged.catalog.relations.get(`public.${name}`);
  const sight = relation && sightsOf(judged.scope(user)).of(relation);
  return sight?.ok === true ? sight.sight.isChosen : undefined;
}

test.each(Object.keys(BY_PROTECTED))("a protected column selects the rows of a view: %s", (name) => {
  expect(isChosen(`v_${name}`)).toBe(true);
});

test.each(Object.keys(OTHERWISE))(
  "a view that only shows protected columns has the rows of its table: %s",
  (name) => {
    expect(isChosen(`v_${name}`)).toBe(false);
  },
);

test("row security and the role's own filter select rows too", () => {
  expect(isChosen("secured")).toBe(true);
  expect(isChosen("tickets")).toBe(false);
  expect(isChosen("tickets", "ben")).toBe(true);
  expect(isChosen("customers", "ben")).toBe(false);
});

test("groups of rows that a protected column selects are not free", () => {
  const isFree = (view: string) =>
    judged.judge("anna", `SELECT country, count(*) FROM ${view} GROUP BY country`).statements[0]?.metering
      ?.groups?.isPlain;
  expect(isFree("customers")).toBe(true);
  expect(isFree("v_columns")).toBe(true);
  expect(isFree("v_condition")).toBe(false);
});

describe("what a protected column has chosen", () => {
  const refusal = (sql: string) => {
    const verdict = judged.judge("anna", sql);
    return verdict.kind === "refuse" ? verdict.refusal.message : undefined;
  };

  test("may not choose rows to write or to lock", () => {
    const among = "WHERE id IN (SELECT id FROM v_condition)";
    expect(refusal(`UPDATE customers SET country = 'X' ${among}`)).toMatch(/may not choose rows of/);
    expect(refusal("UPDATE v_condition SET country = 'X'")).toMatch(/may not choose rows of/);
    expect(refusal(`SELECT id FROM customers ${among} FOR UPDATE`)).toMatch(/to lock/);
    expect(
      refusal("UPDATE customers SET country = 'X' WHERE id IN (SELECT id FROM v_columns)"),
    ).toBeUndefined();
  });

  const upsert = (update: string, rows = "(7, 7), (8, 8)") =>
    refusal(`INSERT INTO customers (id, country) VALUES ${rows} ON CONFLICT (id) DO UPDATE SET ${update}`);

  test("is not stored or marked by ON CONFLICT", () => {
    expect(upsert("country = customers.name")).toMatch(/may not store .* in public.customers.country/);
    expect(upsert("country = customers.name", "(7, 7)")).toMatch(/may not store/);
    expect(upsert("country = 'X' WHERE customers.name LIKE 'A%'")).toMatch(/may not choose rows of/);
    expect(upsert("country = 'X' WHERE customers.name LIKE 'A%'", "(7, 7)")).toBeUndefined();
    expect(upsert("country = excluded.country, name = excluded.name")).toBeUndefined();
    expect(upsert("country = excluded.country WHERE customers.country <> excluded.country")).toBeUndefined();
  });

  test("moves no rows and makes none longer, in protected columns either", () => {
    expect(refusal("UPDATE customers SET name = 'X' WHERE name LIKE 'A%'")).toMatch(/may not choose rows of/);
    expect(upsert("name = excluded.name WHERE customers.name LIKE 'A%'")).toMatch(/may not choose rows of/);
    expect(refusal("UPDATE customers SET name = upper(name)")).toMatch(
      /may not store .* in public.customers.name/,
    );
    expect(upsert("name = customers.name || '!'")).toMatch(/may not store/);
    expect(refusal("UPDATE customers SET name = 'X' WHERE country = 'DE'")).toBeUndefined();
    expect(refusal("UPDATE customers SET name = upper(name) WHERE id = 7")).toBeUndefined();
  });

  test("costs a person where one row becomes as long as it says", () => {
    const price = (sql: string) => judged.judge("anna", sql).statements[0]?.metering?.price?.execution;
    expect(price("UPDATE customers SET name = $1 WHERE id = 7")).toBe(16);
    expect(price("UPDATE customers SET name = upper(name) WHERE id = 7")).toBe(256);
  });

  test("counts an unknown person if an outer join leaves it out of a row", () => {
    const leftOut = (view: string) => {
      const sql = `SELECT c.id, v.id FROM customers c LEFT JOIN ${view} v ON v.country = c.country`;
      const verdict = judged.judge("anna", sql);
      return verdict.kind === "rewrite" && /COALESCE|CASE/i.test(verdict.sql.toString());
    };
    expect(leftOut("v_columns")).toBe(false);
    expect(leftOut("v_condition")).toBe(true);
  });
});
