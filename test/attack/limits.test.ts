import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SupportUser } from "../harness/postgres.ts";
import { type Judged, openJudged, POLICY } from "../sql/judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: `${POLICY}
  desk:
    users: [ben]
    reads: all
    writes: all
    sees: [name]
    require_filter: [public.customers]
    rows: 10
    on_excess: truncate
`
      .replace(
        "    writes: [public.customers]\n",
        "    writes: [public.customers, public.tickets, public.notes]\n",
      )
      .replace("aggregates_only:", "writes: [public.notes, public.times]\n    aggregates_only:")
      .replace(/ {2}european:[\s\S]*? {2}lead:/, "  lead:"),
    setup: `
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, ben, cleo, metabase;
      CREATE TABLE public.notes (id bigint, body text);
      CREATE TABLE public.times (at timestamptz PRIMARY KEY, name text);
      CREATE VIEW public.listed AS SELECT at, name FROM public.times;
      CREATE TABLE public.countries (code text PRIMARY KEY, name text);
      GRANT ALL ON public.times, public.listed, public.countries TO metabase;
      CREATE TABLE public.products (id bigint, name text);
      INSERT INTO public.products SELECT n, 'product' FROM generate_series(1, 100) n;
      GRANT SELECT ON public.products TO metabase;
      CREATE VIEW public.everybody AS SELECT country, string_agg(name, ',') AS names FROM public.customers GROUP BY country;
      GRANT SELECT ON public.everybody TO cleo;
    `,
  });
});
afterAll(() => judged.close());

const refusal = (user: SupportUser, sql: string) => {
  const verdict = judged.judge(user, sql);
  return verdict.kind === "refuse" ? verdict.refusal : undefined;
};

const people = (sql: string) => {
  const verdict = judged.judge("anna", sql);
  if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
  const metering = verdict.statements[0]?.metering;
  return (metering?.subjects.length ?? 0) + (metering?.unknown ?? 0);
};

describe("an output row counts as many people as it may show", () => {
  const names = "WITH x AS (SELECT id, name FROM customers)";
  test.each([
    ["SELECT name FROM customers", 1],
    [`${names} SELECT name FROM x`, 1],
    [`${names} SELECT a.name, b.name, c.name FROM x a, x b, x c`, 3],
    [`${names} SELECT (SELECT name FROM x WHERE id = 1), (SELECT name FROM x WHERE id = 2)`, 2],
    [`${names}, y AS (SELECT a.name AS a, b.name AS b FROM x a, x b) SELECT * FROM y p, y q`, 4],
    [`${names} SELECT * FROM (WITH z AS (SELECT * FROM x) SELECT a.name, b.name FROM z a, z b) s`, 2],
    ["SELECT a.name, b.name FROM customers a, customers b", 2],
    ["SELECT name, lag(name) OVER (), lead(name, 2) OVER () FROM customers", 3],
    ["WITH x AS (SELECT name, lag(name) OVER () AS before FROM customers) SELECT a.*, b.* FROM x a, x b", 4],
    ["SELECT ARRAY[(SELECT name FROM customers WHERE id = 1), (SELECT name FROM customers WHERE id = 2)]", 2],
    [
      "SELECT c.name, l.* FROM customers c, LATERAL (SELECT name FROM customers d WHERE d.id = c.id + 1) l",
      2,
    ],
    ["SELECT j.* FROM (customers c JOIN customers d ON c.id = d.id + 1) AS j", 2],
    ["UPDATE tickets SET status = 'x' RETURNING (SELECT name FROM customers WHERE id = 1)", 2],
    [
      "WITH x AS (SELECT name FROM customers) UPDATE tickets SET status = 'x' RETURNING (SELECT max(name) FROM x)",
      3,
    ],
  ])("%s: %i", (sql, expected) => {
    expect(people(sql)).toBeGreaterThanOrEqual(expected);
  });

  test("and no more than that where it is plain", () => {
    expect(people(`${names} SELECT name FROM x`)).toBe(1);
    expect(people("SELECT c.name, t.subject FROM customers c JOIN tickets t ON t.customer_id = c.id")).toBe(
      2,
    );
  });
});

describe("many people do not fit into one row", () => {
  test.each([
    "WITH x AS (SELECT id, name FROM customers) SELECT * FROM (WITH RECURSIVE r(n, t) AS (SELECT 1, '' UNION ALL SELECT n + 1, t || (SELECT name FROM x WHERE id = n) FROM r WHERE n < 1000) SELECT t FROM r) s",
    "WITH RECURSIVE r(n, t) AS (SELECT 1, '' UNION ALL SELECT n + 1, t || (SELECT name FROM x WHERE id = n) FROM r WHERE n < 1000), x AS (SELECT id, name FROM customers) SELECT t FROM r",
    "SELECT percentile_disc(ARRAY[0.1, 0.2, 0.3]) WITHIN GROUP (ORDER BY name) FROM customers",
    "SELECT percentile_disc($1) WITHIN GROUP (ORDER BY name) FROM customers",
    "SELECT percentile_cont((SELECT array_fill(0.5::float8, '{9}'))) WITHIN GROUP (ORDER BY id) FROM customers",
    "SELECT bit_or(1::bit(1000) << id::int) FROM customers WHERE name LIKE 'A%'",
    "SELECT names FROM everybody",
    "SELECT (SELECT c.json_agg FROM (SELECT name FROM customers) c)",
    "SELECT (SELECT (c).array_agg FROM customers c)",
    "SELECT string_agg(name, ',') FROM customers",
    "SELECT array_agg(c) FROM customers c",
    "SELECT ARRAY(SELECT name FROM customers)",
    "SELECT JSON_ARRAYAGG(name) FROM customers",
    "SELECT JSON_ARRAY(SELECT name FROM customers)",
    "WITH RECURSIVE r(n, t) AS (SELECT 1, '' UNION ALL SELECT n + 1, t || name FROM r JOIN customers ON id = n) SELECT max(t) FROM r",
  ])("%s", (sql) => {
    // A role whose rows alone are limited may not; where people are counted, all who are in the row are.
    expect(["roles.desk.rows", "roles.desk.require_filter"]).toContain(refusal("ben", sql)?.rule);
    const verdict = judged.judge("cleo", sql);
    const { groups, price } = verdict.statements[0]?.metering ?? {};
    expect(price).toBeDefined();
    if (groups === undefined) expect(price).toMatchObject({ bySize: true });
    else expect(groups).toMatchObject({ namespaces: ["public.customers.id"], tell: "people" });
  });
});

describe("a plan tells no figures of people, though the role sees them", () => {
  test.each([
    "EXPLAIN ANALYZE SELECT (SELECT sum(1) FROM generate_series(1, ascii(substr(name, 1, 1)))) FROM customers WHERE id = 8",
    "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) SELECT 1 FROM tickets WHERE subject LIKE 'A%'",
    "EXPLAIN (BUFFERS) SELECT 1 FROM tickets",
    "EXPLAIN (ANALYZE, VERBOSE) SELECT 1 FROM tickets",
  ])("%s", (sql) => {
    expect(refusal("cleo", sql)).toMatchObject({ sqlstate: "42501" });
    expect(refusal("metabase", sql.replace("tickets", "customers"))).toMatchObject({ sqlstate: "42501" });
  });

  test("without figures it is told, at a price", () => {
    const verdict = judged.judge("cleo", "EXPLAIN SELECT 1 FROM tickets WHERE subject = 'x'");
    expect(verdict.kind === "rewrite" && verdict.sql.toString()).toContain("(COSTS OFF)");
    expect(verdict.statements[0]?.metering?.price).toMatchObject({ execution: 80 });
  });
});

describe("what a call leaves behind tells of nobody who is not counted", () => {
  test.each([
    "SELECT 1 FROM customers WHERE id = 7 AND setseed(ascii(name) / 256.0) IS NULL",
    "SELECT 1 FROM customers WHERE id = 7 AND CASE WHEN name LIKE 'A%' THEN array_shuffle(ARRAY[1, 2]) IS NULL END",
    "SELECT 1 FROM customers WHERE id = 7 AND array_sample(ARRAY[1, 2], length(name) % 2) IS NULL",
    "SELECT 1 FROM customers WHERE id = 7 AND CASE WHEN name LIKE 'A%' THEN pg_advisory_lock(1) END IS NULL AND false",
    "SELECT 1 FROM customers WHERE id = 7 AND CASE WHEN name LIKE 'A%' THEN set_config('application_name', 'a', false) END IS NULL",
    "SELECT 1 FROM customers, generate_series(1, 200) g WHERE id = 7 AND g <= ascii(name) AND nextval('s') < 0",
    "UPDATE customers SET country = country WHERE id = 7 AND setseed(ascii(name) / 256.0) IS NULL",
    "INSERT INTO customers (id, name) VALUES (7, '') ON CONFLICT (id) DO UPDATE SET country = '' WHERE setseed(ascii(customers.name) / 256.0) IS NULL",
    "SELECT count(pg_advisory_lock(id::int, ascii(name))) FROM customers",
    "SELECT 1 FROM customers WHERE id = 7 AND name LIKE 'A%' AND pg_current_xact_id() IS NULL",
    "SELECT 1 FROM customers WHERE id = 7 AND name LIKE 'A%' AND txid_current() < 0",
    "SELECT pg_try_advisory_xact_lock((SELECT hashtext(name) FROM customers WHERE id = 7))",
    "SELECT (name::text).setseed FROM customers",
    "WITH x AS MATERIALIZED (SELECT setseed(ascii(name) / 256.0) FROM customers) SELECT 1 FROM x WHERE false",
  ])("%s", (sql) => {
    expect(refusal("cleo", sql)).toMatchObject({ sqlstate: "42501", rule: "roles.lead.budget" });
  });

  test.each(["times", "listed"])("nor a list of one's own past aggregates_only: %s", (list) => {
    const sql = `SELECT count(*) FROM customers c JOIN ${list} k ON k.at = c.created_at`;
    expect(refusal("metabase", sql)).toMatchObject({ rule: "roles.analyst.aggregates_only" });
    expect(refusal("metabase", `SELECT name, count(*) FROM ${list} GROUP BY name`)).toBeUndefined();
    const store = "INSERT INTO notes (id) SELECT count(*) FROM customers GROUP BY country";
    expect(refusal("metabase", store)).toBeUndefined();
    const named =
      "SELECT k.name, count(*) FROM customers c JOIN countries k ON k.code = c.country GROUP BY 1";
    expect(refusal("metabase", named)).toBeUndefined();
  });

  test("nor past aggregates_only", () => {
    const sql = "SELECT count(*) FROM customers WHERE id = 7 AND setseed(ascii(country) / 256.0) IS NULL";
    expect(refusal("metabase", sql)).toMatchObject({ rule: "roles.analyst.aggregates_only" });
  });

  test.each([
    "SELECT pg_advisory_xact_lock(5)",
    "SELECT txid_current()",
    "SELECT set_config('search_path', '', false)",
    "INSERT INTO customers (id, name) VALUES (nextval('s'), 'x')",
    "INSERT INTO customers (id, name) VALUES (nextval('s'), 'x') ON CONFLICT (id) DO UPDATE SET country = ''",
    "SELECT id, pg_try_advisory_lock(id) FROM notes",
  ])("honest: %s", (sql) => {
    expect(refusal("cleo", sql)).toBeUndefined();
  });
});

describe("people are not copied past the meter", () => {
  test.each([
    "UPDATE customers SET country = (SELECT string_agg(name, ',') FROM customers)",
    "UPDATE customers SET country = country || (SELECT name FROM customers c WHERE c.id = 8) WHERE id = 7",
    "UPDATE customers SET country = c.name FROM customers c WHERE c.id = customers.id + 1",
    "UPDATE customers SET country = c::text FROM customers c WHERE c.id = customers.id + 1",
    "UPDATE customers SET country = n FROM (SELECT name AS n FROM customers WHERE id = 8) s",
    "WITH x AS (SELECT name FROM customers) UPDATE customers SET country = (SELECT max(name) FROM x)",
    "WITH x AS (SELECT name FROM customers) UPDATE customers SET country = x.name FROM x",
    "WITH x AS (SELECT * FROM customers) INSERT INTO customers SELECT id + 10000, name, email, phone, address, birth_date, country, created_at FROM x",
    "WITH x AS (SELECT name FROM customers), y AS (INSERT INTO customers (id, name) SELECT 1, name FROM x) SELECT 1",
    "INSERT INTO customers (id, name) VALUES (1, (SELECT name FROM customers WHERE id = 8))",
    "INSERT INTO customers (id, name) VALUES (7, '') ON CONFLICT (id) DO UPDATE SET id = 5",
    "UPDATE customers SET id = 5 WHERE id = 7",
    "INSERT INTO customers (id, name) VALUES (7, '') ON CONFLICT (id) DO UPDATE SET country = (SELECT name FROM customers WHERE id = 8)",
    "WITH x AS (SELECT name FROM customers) INSERT INTO customers (id, name) VALUES (7, '') ON CONFLICT (id) DO UPDATE SET country = (SELECT max(name) FROM x)",
    "MERGE INTO customers c USING (VALUES (7)) v(i) ON c.id = v.i WHEN MATCHED THEN UPDATE SET id = 5",
    "MERGE INTO customers c USING customers d ON c.id = d.id + 1 WHEN MATCHED THEN UPDATE SET country = d.name",
  ])("%s", (sql) => {
    expect(refusal("cleo", sql)).toMatchObject({ sqlstate: "42501" });
  });

  test.each([
    "UPDATE customers SET country = 'x' FROM tickets t WHERE t.customer_id = customers.id AND t.id = 7",
    "UPDATE customers SET country = upper(country) WHERE id = 7",
    "INSERT INTO customers (id, name, email, country, created_at) VALUES (9001, 'x', 'y', 'z', now()) ON CONFLICT (id) DO UPDATE SET country = excluded.country",
  ])("honest: %s", (sql) => {
    expect(refusal("cleo", sql)).toBeUndefined();
  });
});

describe("rows are not marked by other people's values", () => {
  test.each([
    "DELETE FROM notes n USING customers c WHERE c.id = n.id AND ascii(substr(c.name, 1, 1)) <> 65",
    "DELETE FROM notes WHERE EXISTS (SELECT FROM customers c WHERE c.id = notes.id AND c.name LIKE 'A%')",
    // An outer join's condition that holds nobody.
    "UPDATE customers SET country = '' WHERE EXISTS (SELECT FROM customers c LEFT JOIN notes n ON c.id = customers.id WHERE c.id = customers.id + 1 AND c.country = 'DE')",
    "UPDATE notes SET body = 'x' WHERE id IN (SELECT id FROM customers WHERE name LIKE 'A%')",
    "WITH x AS (SELECT id FROM customers WHERE name LIKE 'A%') DELETE FROM notes USING x WHERE x.id = notes.id",
    "UPDATE customers SET country = '' FROM customers c WHERE c.id = customers.id + 1 AND c.name LIKE 'A%'",
    "UPDATE tickets SET status = '' WHERE id IN (SELECT id FROM customers WHERE name LIKE 'A%')",
    "UPDATE tickets SET status = '' WHERE customer_id IN (WITH customers AS (SELECT 1::bigint AS id FROM public.customers WHERE id = 7 AND name LIKE 'A%') SELECT id FROM customers)",
    "WITH customers AS (VALUES (1::bigint)) UPDATE tickets SET status = '' WHERE customer_id IN (SELECT column1 FROM customers WHERE EXISTS (SELECT FROM public.customers c WHERE c.id = 7 AND name LIKE 'A%'))",
    "DELETE FROM tickets t USING customers c, customers d WHERE c.id = t.customer_id AND d.id = 7 AND d.name LIKE 'A%'",
    "SELECT 1 FROM notes n, customers c WHERE n.id = ascii(c.name) FOR UPDATE OF n",
    "SELECT 1 FROM (SELECT n.id FROM notes n WHERE EXISTS (SELECT FROM customers c WHERE c.id = n.id AND name LIKE 'A%') FOR SHARE) s WHERE false",
    "SELECT 1 FROM tickets t, customers c WHERE t.id = ascii(c.name) FOR UPDATE",
    "WITH x AS (SELECT * FROM customers) SELECT 1 FROM notes n, x WHERE n.id = ascii(x.name) FOR UPDATE OF n",
    // By their own.
    "SELECT count(*) FROM (SELECT FROM customers WHERE id < 2000 AND name LIKE 'A%' FOR UPDATE) s",
    "SELECT 1 FROM customers WHERE name LIKE 'A%' OFFSET 1000 FOR KEY SHARE",
    "DECLARE k CURSOR FOR SELECT id FROM customers WHERE left(name, 1) = 'A' FOR NO KEY UPDATE",
    "SELECT 1 FROM tickets t JOIN customers c ON c.id = t.customer_id AND c.name LIKE 'A%' FOR UPDATE OF t",
    "SELECT count(*) FROM (SELECT FROM customers ORDER BY name LIMIT 100 FOR SHARE) s",
    "SELECT count(*) FROM (SELECT name FROM customers ORDER BY 1 LIMIT 100 FOR SHARE) s",
    "SELECT count(*) FROM (SELECT name AS n FROM customers ORDER BY n LIMIT 100 FOR SHARE) s",
    "SELECT count(*) FROM (SELECT FROM customers c WHERE c::text LIKE '%A%' FOR SHARE) s",
    "WITH x AS (SELECT FROM customers WHERE name LIKE 'A%' FOR UPDATE) SELECT count(*) FROM x",
  ])("%s", (sql) => {
    expect(refusal("cleo", sql)).toMatchObject({ sqlstate: "42501", rule: "roles.lead.budget" });
  });

  test.each([
    "DELETE FROM notes WHERE id IN (SELECT oid::bigint FROM pg_class)",
    "UPDATE tickets SET status = '' FROM customers c WHERE c.id = tickets.customer_id AND c.country = 'DE'",
    "UPDATE tickets SET status = '' WHERE customer_id IN (SELECT id FROM customers WHERE country = 'DE')",
    "UPDATE tickets t SET status = '' WHERE t.customer_id = (SELECT c.id FROM customers c WHERE c.id = 7)",
    "DELETE FROM tickets t WHERE EXISTS (SELECT FROM customers c JOIN payments p ON p.customer_id = c.id WHERE c.id = t.customer_id)",
    "SELECT * FROM tickets WHERE id = 7 FOR UPDATE SKIP LOCKED",
    "SELECT * FROM tickets WHERE status = 'open' ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED",
    "SELECT name FROM customers WHERE id = 7 AND name = 'Alice' FOR UPDATE",
    "SELECT t.*, c.name FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = 'open' FOR UPDATE OF t",
    "SELECT t.* FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.id = 7 FOR UPDATE",
    "SELECT t.* FROM tickets t LEFT JOIN customers c ON c.id = t.customer_id WHERE t.id = 7 FOR UPDATE OF t",
    "UPDATE tickets SET status = '' WHERE id = (SELECT id FROM tickets WHERE status = 'open' LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id",
  ])("honest: %s", (sql) => {
    expect(refusal("cleo", sql)).toBeUndefined();
  });
});

describe("a mask is not stored by a detour", () => {
  test.each([
    "UPDATE tickets SET status = s.e FROM (SELECT email AS e FROM customers WHERE id = 7) s",
    "WITH x AS (SELECT email FROM customers WHERE id = 7) UPDATE tickets SET status = (SELECT email FROM x)",
    "WITH x AS (SELECT email FROM customers WHERE id = 7), y AS (SELECT * FROM x) UPDATE tickets SET status = (SELECT * FROM y)",
    "WITH x AS (SELECT * FROM customers WHERE id = 7) INSERT INTO tickets (id, status) SELECT id, email FROM x",
    "WITH x AS (DELETE FROM customers WHERE id = 7 RETURNING *) INSERT INTO customers SELECT * FROM x",
    "MERGE INTO tickets t USING (SELECT email AS e FROM customers) s ON t.id = 1 WHEN MATCHED THEN UPDATE SET status = s.e",
  ])("%s", (sql) => {
    expect(refusal("ben", sql)).toMatchObject({ sqlstate: "42501" });
  });
});

describe("require_filter holds by whatever name", () => {
  test.each([
    "SELECT j.* FROM (customers c JOIN tickets t ON c.id = t.customer_id) AS j",
    "SELECT j.id FROM (customers CROSS JOIN (SELECT 1) s) AS j",
    "SELECT * FROM customer_directory",
    "SELECT * FROM customer_copy",
    "SELECT * FROM customers WHERE email = 'a***@example.com'",
    "SELECT * FROM customers WHERE email = ANY ('{a***@example.com}')",
    "SELECT c.* FROM customers c JOIN customer_copy d ON c.email = d.email WHERE d.id = 7",
    "COPY customer_directory TO STDOUT",
    "UPDATE customers SET country = country RETURNING *",
    "UPDATE customers SET country = 'x' WHERE country = 'DE'",
    "DELETE FROM customers WHERE true",
    "WITH d AS (DELETE FROM customers WHERE country = 'DE' RETURNING id) SELECT * FROM d",
    "UPDATE tickets SET status = 'x' FROM (customers c CROSS JOIN (SELECT 1) s) AS j WHERE j.id = customer_id",
  ])("%s", (sql) => {
    expect(refusal("ben", sql)).toMatchObject({ sqlstate: "54000", rule: "roles.desk.require_filter" });
  });

  test.each([
    "UPDATE customers SET country = 'x' WHERE id IN (7, 8)",
    "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING *",
  ])("a write of rows that are named by a key passes: %s", (sql) => {
    expect(refusal("ben", sql)).toBeUndefined();
  });

  test("a view's plain copy of an indexed column will do", () => {
    expect(refusal("ben", "SELECT * FROM customer_directory WHERE id = 7")).toBeUndefined();
  });
});

describe("aggregates_only shows summaries of groups and nothing else", () => {
  test.each([
    "SELECT j.id FROM (customers CROSS JOIN (SELECT 1) s) AS j",
    "SELECT max(birth_date) AS country, count(*) FROM customers GROUP BY country",
    "SELECT array_agg(id) AS country FROM customers GROUP BY country",
    "SELECT country FROM customers GROUP BY country ORDER BY max(birth_date)",
    "SELECT country FROM customers GROUP BY country HAVING max(birth_date) FILTER (WHERE id = 7) > '1980-01-01'",
    "SELECT country FROM customers GROUP BY country HAVING bool_or(id = 7)",
    "SELECT count(*), row_number() OVER (ORDER BY max(birth_date)) FROM customers GROUP BY country",
    "SELECT sum(s.x) FROM customers c, LATERAL (SELECT CASE WHEN c.id = 7 THEN c.birth_date - date '2000-01-01' ELSE 0 END AS x) s",
    "SELECT count(v.one) FROM customers c LEFT JOIN (VALUES (7, 1)) v(id, one) ON v.id = c.id AND c.birth_date < '1980-01-01'",
    "SELECT count(k.oid) FROM customers c LEFT JOIN pg_class k ON c.id = 7 AND c.birth_date < '1980-01-01'",
    "SELECT count(x) FROM customers c, LATERAL unnest(CASE WHEN c.id = 7 THEN ARRAY[c.birth_date] END) x",
    "SELECT DISTINCT ON (max(birth_date)) country FROM customers GROUP BY country",
    "SELECT count(*) FROM (SELECT id FROM customers WHERE id = 7) s",
    "SELECT count(*), sum(amount_cents) FROM payments p(customer_id, id) WHERE customer_id BETWEEN 1 AND 20 AND id = 2",
    "SELECT count(*) FROM customers c, generate_series(1, 100) WHERE c.country = 'DE'",
    "SELECT count(*) FROM customers c JOIN products ON true WHERE c.created_at < '2023-01-01 09:00:00+00'",
    "SELECT count(*) FROM customers c JOIN tickets t ON true WHERE c.created_at < '2023-01-01 09:00:00+00'",
    "WITH x AS (SELECT id, birth_date FROM customers) SELECT * FROM x",
    "SELECT count(*) FROM customers UNION ALL SELECT id FROM customers",
    "DELETE FROM notes USING customers c WHERE c.id = 7 RETURNING c.birth_date",
    "UPDATE notes SET body = c.birth_date FROM customers c WHERE c.id = 7",
    "UPDATE notes SET body = c.birth_date FROM (customers CROSS JOIN (SELECT 1) s) AS c WHERE c.id = 7",
    "MERGE INTO notes n USING customers c ON n.id = c.id WHEN MATCHED THEN UPDATE SET body = c.birth_date",
  ])("%s", (sql) => {
    expect(refusal("metabase", sql)).toMatchObject({ rule: "roles.analyst.aggregates_only" });
  });

  test.each([
    "SELECT country, count(*) FROM customers WHERE created_at < '2023-01-01 09:00:00+00' GROUP BY ROLLUP (country)",
    "SELECT count(*), sum(amount_cents) FROM payments WHERE paid_at < '2024-01-01 09:00:00+00'",
    // Many rows of few people are few people.
    "SELECT count(*) FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.created_at < '2023-01-01 09:00:00+00'",
  ])("few people stay few: %s", async (sql) => {
    expect((await judged.run("metabase", sql)).rows).toEqual([]);
  });

  test.each([
    "SELECT country, count(*) AS n FROM customers GROUP BY country ORDER BY n DESC, country",
    "SELECT date_trunc('month', paid_at) AS m, sum(amount_cents) FROM payments GROUP BY 1",
    "SELECT c.country, sum(p.amount_cents) / count(*) FROM customers c LEFT JOIN payments p ON p.customer_id = c.id GROUP BY c.country HAVING count(*) > 20 AND sum(p.amount_cents) IS NOT NULL ORDER BY 2 DESC",
  ])("honest: %s", async (sql) => {
    expect(refusal("metabase", sql)).toBeUndefined();
    expect((await judged.run("metabase", sql)).rows.length).toBeGreaterThan(0);
  });
});
