import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged, POLICY as SUPPORT } from "./judged.ts";

/** What `aggregates_only` lets a dashboard ask, and what could select or show a single person. */

const POLICY = SUPPORT.replace("roles:", "  public.visits: { subject: customer_id }\nroles:");

let judged: Judged;
let exact: Judged;
const SETUP = `
  CREATE TABLE countries (code text PRIMARY KEY, area text);
  INSERT INTO countries VALUES ('DE', 'north'), ('FR', 'west'), ('GB', 'north'), ('IT', 'south'), ('US', 'west'), ('IS', 'north');
  CREATE TABLE days (day date PRIMARY KEY);
  INSERT INTO days SELECT date '2024-01-01' + n FROM generate_series(0, 90) n;
  -- Three people of a country of their own.
  ALTER TABLE customers ADD tier int DEFAULT 1, ADD nick text, ADD code bigint GENERATED ALWAYS AS (id + 1) STORED;
  CREATE UNIQUE INDEX ON customers (lower(nick));
  INSERT INTO customers SELECT 9000 + n, 'Eva ' || n, 'eva' || n, NULL, NULL, '1990-01-01', 'IS', '2023-01-01', 3 FROM generate_series(1, 3) n;
  CREATE TABLE visits (customer_id bigint REFERENCES customers (id), ticket_id bigint REFERENCES tickets (id));
  INSERT INTO visits SELECT id, NULL FROM customers, generate_series(1, 8281) WHERE id <= 60;
  CREATE VIEW country_names AS SELECT code AS country, area FROM countries;
  GRANT SELECT ON countries, country_names, days, visits TO metabase;
`;
beforeAll(async () => {
  judged = await openJudged({ setup: SETUP, policy: POLICY });
  exact = await openJudged({
    setup: SETUP,
    policy: POLICY.replace("min_group: 10", "min_group: 10, noise: off"),
  });
});
afterAll(async () => {
  await judged.close();
  await exact.close();
});

const refusal = (sql: string) => {
  const verdict = judged.judge("metabase", sql);
  return verdict.kind === "refuse" ? verdict.refusal : undefined;
};

test.each([
  "SELECT country, avg(extract(year from birth_date)) FROM customers GROUP BY country",
  "SELECT count(*) FILTER (WHERE country = 'DE') FROM customers",
  "SELECT country, count(*) / sum(count(*)) OVER () FROM customers GROUP BY country",
])("who asks for summaries is told which would be allowed: %s", (sql) => {
  expect(refusal(sql)?.hint).toMatch(/of plain columns, without FILTER, OVER or a calculation inside/);
});

describe("a condition or a group that could choose one person is refused", () => {
  const count = "SELECT count(*) FROM customers";
  test.each([
    `${count} WHERE id = 7`,
    `${count} WHERE id IN (1, 2, 3, 4, 5) OR (id = 7 AND country = 'DE')`,
    `${count} WHERE id <> 7`,
    `${count} WHERE email = 'alice.ng.7@example.com'`,
    `${count} WHERE name LIKE 'A%'`,
    `${count} WHERE ctid = '(0,7)'`,
    `${count} c WHERE c = '(7)'`,
    `${count} c WHERE c.*::text LIKE '(7,%'`,
    `${count} WHERE country = 'DE' OR created_at = '2023-01-01 07:00+00'`,
    `${count} WHERE country = 'DE' OR (country = 'IS' AND birth_date > '1980-01-01')`,
    `${count} WHERE created_at IN ('2023-01-01 07:00+00', '2023-01-01 08:00+00')`,
    `${count} WHERE created_at <> '2023-01-01 07:00+00'`,
    `${count} WHERE created_at < '2023-01-05' OR created_at > '2023-01-07'`,
    `${count} WHERE NOT created_at BETWEEN '2023-01-01' AND '2023-01-02'`,
    `${count} WHERE created_at = ANY ('{2023-01-01}')`,
    `${count} WHERE (country, created_at) < ('DE', '2023-01-01')`,
    `${count} WHERE id IN (SELECT customer_id FROM payments)`,
    `${count} c WHERE EXISTS (SELECT FROM countries WHERE code = c.country AND c.id = 7)`,
    `${count} GROUP BY id = 7`,
    `${count} GROUP BY CASE WHEN id = 7 THEN 'DE' ELSE country END`,
    `${count} GROUP BY CASE WHEN created_at = '2023-01-01' THEN 1 ELSE 2 END`,
    `SELECT coalesce(nullif(country, 'DE'), birth_date::text) AS a, count(*) FROM customers GROUP BY a`,
    `SELECT id, count(*) FROM customers GROUP BY 1`,
    `${count} JOIN (VALUES (7)) v(id) USING (id)`,
    `${count} c JOIN countries k ON k.code = c.country AND c.id = 7`,
    `${count} c JOIN countries k ON length(k.code) = c.id`,
    `${count} c JOIN countries k ON k.code = c.id::text`,
    `${count} c, generate_series(7, 7) g`,
    `${count} c, LATERAL (SELECT FROM countries WHERE c.id = 7) s`,
    `WITH v AS (SELECT 7 AS id) SELECT count(*) FROM customers JOIN v USING (id)`,
    `${count} TABLESAMPLE bernoulli (50) REPEATABLE (1)`,
    `${count} NATURAL JOIN countries`,
    "SELECT count(*) FROM customer_directory WHERE id = 7",
    "SELECT count(*) FROM customer_directory WHERE email = 'a'",
    "SELECT count(*) FROM payments WHERE customer_id = 7",
    "SELECT count(*) FROM payments p(customer_id, id) WHERE p.id = 7",
    "SELECT count(*) FROM tickets t JOIN payments p ON p.customer_id = t.customer_id AND t.id = 7",
    "SELECT count(*) FROM vip_customers WHERE id = 5001",
    `${count} WHERE nick = 'x'`,
    `${count} WHERE code = 7`,
    "SELECT count(*) FROM contact_log WHERE id = 7 AND logged_on < '2023-02-01'",
  ])("%s", (sql) => {
    expect(refusal(sql)).toMatchObject({ sqlstate: "42501", rule: "roles.analyst.aggregates_only" });
  });
});

describe("an expression that can fail on a row does not run on people", () => {
  test.each([
    "SELECT count(*) FROM customers WHERE get_bit('\\x00'::bytea, 100000 + ascii(birth_date::text)) = 1",
    "SELECT count(*) FROM customers WHERE 1 / (ascii(country) - 73) > 0",
    "SELECT count(*) FROM customers WHERE country = 'IS' AND 1 / (extract(year FROM now()) - 2026) > 0",
    "SELECT count(*) FROM customers WHERE country::int = 1",
    "SELECT count(*) FROM customers WHERE country LIKE 'IS\\'",
    "SELECT count(*) FROM customers WHERE country ~ '^I'",
    "SELECT count(*) FROM customers WHERE date_trunc('nonsense', created_at) > '2023-01-01'",
    "SELECT count(*) FROM customers WHERE created_at > now() - interval '300000 years'",
    "SELECT count(*) FROM customers WHERE created_at > now() - interval '999 years' - interval '999 years' - interval '999 years' - interval '999 years'",
    "SELECT count(*) FROM customers WHERE to_char(created_at, country) = 'x'",
    "SELECT 1 / (ascii(country) - 73) AS n, count(*) FROM customers GROUP BY n",
    "SELECT count(*) FROM customers c JOIN countries k ON k.code = c.country AND 1 / (ascii(k.area) - 110) > 0",
    "SELECT s.country FROM (SELECT country, count(*) FROM customers GROUP BY 1 UNION ALL SELECT status, 1 FROM tickets GROUP BY 1) s WHERE ascii(s.country) > 0",
  ])("%s", (sql) => {
    expect(refusal(sql)).toMatchObject({ sqlstate: "42501", rule: "roles.analyst.aggregates_only" });
  });

  // IS has three people: no group of them is shown, and none may raise an error.
  test.each([
    "SELECT country FROM customers GROUP BY country HAVING 1 / (count(*) - 3) IS NOT NULL",
    "SELECT country FROM customers GROUP BY country, tier HAVING 1 / (tier - 3) IS NOT NULL",
    "SELECT s.country FROM (SELECT country, count(*) FROM customers GROUP BY country) s WHERE 1 / (ascii(country) + ascii(substr(country, 2)) - 156) IS NOT NULL",
    "WITH s AS (SELECT country, count(*) FROM customers GROUP BY country) SELECT country FROM s WHERE 1 / (ascii(country) + ascii(substr(country, 2)) - 156) IS NOT NULL",
  ])("a hidden group raises no error: %s", async (sql) => {
    for (const { run } of [judged, exact]) {
      const { rows } = await run("metabase", sql);
      expect(rows.flat().toSorted()).toEqual(["DE", "FR", "GB", "IT", "US"]);
    }
  });
});

describe("dashboards run, and keep the names and types of their columns", () => {
  test.each([
    "SELECT count(*) FROM customers",
    "SELECT country, count(*) AS n, count(DISTINCT id), count(phone) FROM customers GROUP BY country ORDER BY n DESC, 1",
    "SELECT date_trunc('month', paid_at)::date AS month, currency, sum(amount_cents), avg(amount_cents), pg_catalog.count(1) FROM payments WHERE paid_at >= now() - interval '30 years' AND currency IN ('EUR', 'USD') GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT c.country, sum(p.amount_cents)::float8 / nullif(count(*), 0) FROM customers c LEFT JOIN payments p ON p.customer_id = c.id GROUP BY c.country HAVING count(*) > 20 AND sum(p.amount_cents) IS NOT NULL ORDER BY 2 DESC",
    "SELECT k.area, count(*), coalesce(avg(p.amount_cents), 0)::numeric(10,2) FROM payments p JOIN customers c ON c.id = p.customer_id JOIN countries k ON k.code = c.country WHERE k.area <> 'east' GROUP BY ROLLUP (k.area) ORDER BY count(*)",
    "SELECT d.day, count(p.id) FROM days d JOIN payments p ON date_trunc('day', p.paid_at) = d.day GROUP BY d.day ORDER BY d.day",
    "SELECT CASE WHEN country IN ('DE', 'FR') THEN 'eu' ELSE 'other' END AS area, count(*) FROM customers GROUP BY area",
    "SELECT to_char(created_at, 'YYYY-MM') AS month, count(*) FROM customers WHERE created_at BETWEEN '2023-01-02' AND '2023-06-01' AND extract(dow FROM created_at) IN (1, 2, 3) GROUP BY 1 ORDER BY 1",
    "SELECT status, region, count(*) FROM tickets WHERE lower(status) LIKE '%e%' AND assignee IS NOT NULL GROUP BY status, region ORDER BY 1, 2",
    "SELECT DISTINCT country FROM customers GROUP BY country ORDER BY country LIMIT 3",
    "SELECT s.country, s.n FROM (SELECT country, count(*) AS n FROM customers GROUP BY 1) s WHERE s.n > 100 ORDER BY s.country",
    "WITH a AS (SELECT country, count(*) AS n FROM customers GROUP BY 1) SELECT country, n, round(100.0 * n / sum(n) OVER (), 1) FROM a ORDER BY country",
    "SELECT 'customers', count(*) FROM customers UNION ALL SELECT 'tickets', count(*) FROM tickets",
    "SELECT count(*) /* a comment */ FROM public.customers AS noise",
    "SELECT country, count(public.customers.phone) FROM public.customers GROUP BY 1 HAVING abs(count(*)) > 20 AND count(public.customers.phone) IS NOT NULL ORDER BY 1",
    `SELECT U&"c!006funt" UESCAPE '!' (*), (count ( /* ) */ DISTINCT c."id" )) AS from FROM customers c`,
    "SELECT s.n IS NOT NULL FROM ((SELECT country, count(*) AS n FROM customers GROUP BY 1 HAVING count(*) > 1 ORDER BY 1)) s WHERE s.country > 'A'",
    "SELECT s.country FROM ((SELECT country, count(*) AS having FROM customers GROUP BY 1) ORDER BY 1) s, (SELECT pg_catalog.count(*) AS n FROM tickets HAVING true) t WHERE t.n > 0 ORDER BY 1",
    "SELECT country, 2100 IN (count(*)), ((count(*))) = 3, -count(*)::int % 5 FROM customers GROUP BY country ORDER BY (count(*)), 1",
    "SELECT country FROM customers GROUP BY country HAVING 'true' ORDER BY count(*) IS DISTINCT FROM 3, country",
  ])("%s", async (sql) => {
    const [noisy, plain] = [await judged.run("metabase", sql), await exact.run("metabase", sql)];
    const columns = (result: typeof noisy) => result.fields.map(({ name, dataTypeID }) => [name, dataTypeID]);
    expect(columns(noisy)).toEqual(columns(plain));
    expect(noisy.rows.length).toBeGreaterThan(0);
  });

  test("a count of people is off by four at most, by a multiple of five, and the same each time", async () => {
    const sql = "SELECT country, count(*) FROM customers GROUP BY 1 ORDER BY 1";
    const [noisy, plain] = [await judged.run("metabase", sql), await exact.run("metabase", sql)];
    expect(noisy.rows.map(([country]) => country)).toEqual(plain.rows.map(([country]) => country));
    for (const [index, row] of noisy.rows.entries()) {
      expect(Math.abs(Number(row[1]) - Number(plain.rows[index]?.[1]))).toBeLessThan(5);
      expect(Number(row[1]) % 5).toBe(0);
    }
    expect((await judged.run("metabase", sql)).rows).toEqual(noisy.rows);
  });

  test("many rows of one person have the weight of one person", async () => {
    const [[small] = []] = (await judged.run("metabase", "SELECT count(*) FROM customers")).rows;
    const [[large] = []] = (await judged.run("metabase", "SELECT count(*) FROM visits")).rows;
    // 8,281 rows for each person: the base is 20,000, so that one person does not stand out.
    expect(Number(small) % 5).toBe(0);
    expect(Number(large) % 20_000).toBe(0);
  });
});

describe("a join that multiplies the rows of people would round their figure another way each time: refused", () => {
  test.each([
    "SELECT count(*) FROM customers c, tickets t WHERE c.country = 'DE' AND t.status = 'open'",
    "SELECT count(*) FROM customers c CROSS JOIN customers d WHERE c.country = 'DE' AND d.country = 'FR'",
    "SELECT count(c.id) FROM customers c JOIN customers d ON d.country = c.country",
    "SELECT count(c.id) FROM customers c JOIN customers d USING (country)",
    "SELECT sum(p.amount_cents) FROM payments p, customers c WHERE c.country = 'DE'",
    "SELECT avg(p.amount_cents) FROM payments p JOIN tickets t ON t.status = p.currency",
    "SELECT count(*) FROM tickets a JOIN tickets b ON b.customer_id = a.customer_id",
    "SELECT count(*) FROM tickets t JOIN customers c ON c.id = t.customer_id JOIN tickets u ON u.customer_id = c.id",
    "SELECT count(*) FROM customers c, tickets t LEFT JOIN payments p ON p.customer_id = t.customer_id WHERE c.country = 'DE'",
    // An outer join's condition does not restrict the side that it keeps.
    "SELECT count(*) FROM (customers c CROSS JOIN tickets t) LEFT JOIN payments p ON c.id = t.customer_id AND p.customer_id = c.id",
    "SELECT count(*) FROM payments p RIGHT JOIN (customers c CROSS JOIN tickets t) ON c.id = t.customer_id AND p.customer_id = c.id",
    "SELECT count(*) FROM payments p FULL JOIN (customers c CROSS JOIN tickets t) ON c.id = t.customer_id AND p.customer_id = c.id",
    "SELECT count(*) FROM customers c LEFT JOIN tickets t ON true",
    "SELECT count(*) FROM customers c CROSS JOIN days d WHERE d.day < '2024-01-08'",
    "SELECT count(*) FROM customers c JOIN days d ON d.day < '2024-01-08'",
    "SELECT count(*) FROM customers c JOIN countries k ON k.area = c.country",
    "SELECT count(*) FROM customers c JOIN countries k ON k.code = c.country CROSS JOIN days",
    "SELECT n FROM (SELECT count(*) AS n FROM customers c CROSS JOIN days d) s",
    "WITH s AS (SELECT count(*) FROM customers c, tickets) TABLE s",
  ])("%s", async (sql) => {
    expect(refusal(sql), sql).toMatchObject({ sqlstate: "42501", rule: "roles.analyst.aggregates_only" });
    expect(refusal(sql)?.message).toContain("could multiply");
    // Without noise there is nothing to average out.
    await expect(exact.run("metabase", sql)).resolves.toBeDefined();
  });

  test.each([
    "SELECT count(*) FROM customers c, tickets t WHERE t.customer_id = c.id",
    "SELECT count(*) FROM tickets t JOIN payments p USING (customer_id)",
    "SELECT count(*) FROM tickets t LEFT JOIN payments p ON p.customer_id = t.customer_id LEFT JOIN customers c ON c.id = p.customer_id",
    "SELECT count(*) FROM tickets t FULL JOIN payments p ON p.customer_id = t.customer_id",
    "SELECT count(*) FROM visits v JOIN tickets t ON v.ticket_id = t.id",
    "SELECT count(*) FROM customers a JOIN customers b ON a.id = b.id",
    "SELECT n.area, count(*) FROM customers c JOIN country_names n ON n.country = c.country GROUP BY 1",
    "SELECT n.area, count(*) FROM customers c JOIN country_names n USING (country) GROUP BY 1",
    "SELECT count(*) FROM customers c JOIN days d ON d.day = '2024-01-08'",
  ])("but not where each table is joined by the person or a key: %s", async (sql) => {
    expect(refusal(sql)).toBeUndefined();
    await judged.run("metabase", sql);
  });
});

test("a count of NULL is 0, as on the server", async () => {
  for (const sql of [
    "SELECT count(NULL) FROM customers",
    "SELECT pg_catalog.count ( NULL ) AS n FROM customers",
  ])
    expect((await judged.run("metabase", sql)).rows).toEqual([["0"]]);
  const grouped = "SELECT country, count(NULL), count(*) FROM customers GROUP BY 1 HAVING count(NULL) = 0";
  for (const [, none, all] of (await judged.run("metabase", grouped)).rows) {
    expect(none).toBe("0");
    expect(Number(all)).toBeGreaterThan(0);
  }
});

test("sums of identifying columns, of constants and spreads are refused, and so are plans", () => {
  for (const sql of [
    "SELECT sum(id) FROM customers",
    "SELECT avg(customer_id) FROM payments",
    "SELECT sum(DISTINCT amount_cents) FROM payments",
    "SELECT sum(3) FROM payments",
    "SELECT count(DISTINCT 3) FROM payments",
    "SELECT stddev(amount_cents) FROM payments",
    "EXPLAIN SELECT count(*) FROM payments",
    "EXPLAIN ANALYZE SELECT count(*) FROM payments",
  ])
    expect(refusal(sql), sql).toMatchObject({ sqlstate: "42501", rule: "roles.analyst.aggregates_only" });
});
