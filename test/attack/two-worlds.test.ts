import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { protectedWorlds, received, unguarded, type Worlds } from "./worlds.ts";

let worlds: Worlds;
beforeAll(async () => {
  worlds = await protectedWorlds();
});
afterAll(() => worlds.close());

/** One attack: the statements of one transaction. A string stands for a single one. */
type Attack = string | readonly string[];

const READS: readonly Attack[] = [
  "SELECT * FROM customers WHERE id < 20",
  "TABLE customers",
  "TABLE ONLY customers",
  "SELECT email FROM/**/customers/**/*/**/WHERE id = 7",
  "SELECT email FROM ONLY/* ( */(/* ) */customers/**/)WHERE id = 7",
  'SELECT email FROM\tONLY\n( -- (\n public . "customers" ) WHERE id = 7',
  "SELECT EMAIL FROM PUBLIC.CUSTOMERS WHERE id = 7",
  'SELECT "email" FROM U&"\\0063ustomers" WHERE id = 7',
  "SELECT U&\"em!0061il\" UESCAPE '!' FROM customers WHERE id = 7",
  'SELECT customers.email FROM customers AS "customers" WHERE id = 7',
  "SELECT email.email FROM customers email WHERE id = 7",
  "SELECT email FROM customers email WHERE id = 7",
  "SELECT x.* FROM customers AS x (id, email, name) WHERE x.id = 7",
  "SELECT x FROM customers AS x (id, email, name) WHERE x.id = 7",
  "SELECT email FROM customer_directory WHERE id = 7",
  "SELECT email_upper FROM customer_upper WHERE id = 7",
  "SELECT customer_email, subject FROM tickets_open WHERE customer_id = 7",
  "SELECT email FROM customer_copy WHERE id = 7",
  "SELECT email FROM contact_log_2023 ORDER BY 1",
  "SELECT * FROM vip_customers",
  "SELECT name FROM customers UNION SELECT email FROM customers",
  "(SELECT email FROM customers WHERE id = 7) UNION ALL (SELECT name FROM customer_copy) ORDER BY 1".replace(
    "TABLE customer_copy",
    "SELECT name FROM customer_copy",
  ),
  "WITH customers AS (SELECT * FROM customers) SELECT email FROM customers WHERE id = 7",
  "WITH a AS (WITH customers AS (SELECT 1) SELECT email FROM public.customers WHERE id = 7) SELECT * FROM a",
  "WITH a AS (SELECT 1 AS email), b AS (SELECT (WITH a AS (SELECT email FROM customers WHERE id = 7) SELECT email FROM a)) SELECT * FROM b",
  "WITH RECURSIVE customers AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM customers WHERE id < 3), x AS (SELECT c.email FROM public.customers c JOIN customers USING (id)) SELECT * FROM x",
  "SELECT (SELECT email FROM customers c WHERE c.id = t.customer_id) FROM tickets t WHERE t.id < 9",
  "SELECT l.* FROM tickets t LEFT JOIN LATERAL (SELECT email, phone FROM customers WHERE id = t.customer_id) l ON true WHERE t.id < 9",
  "SELECT * FROM customers NATURAL JOIN customer_copy",
  "SELECT * FROM (SELECT * FROM customers WHERE id < 9) c JOIN (SELECT * FROM customer_copy WHERE id < 20) d USING (email)",
  "SELECT j.* FROM (customers JOIN tickets ON customers.id = tickets.customer_id) AS j WHERE j.customer_id = 7",
  "SELECT c.email FROM ((customers c CROSS JOIN (VALUES (1)) v)) WHERE c.id = 7",
  "SELECT email FROM customers TABLESAMPLE bernoulli (100) REPEATABLE (1) c WHERE id = 7",
  "SELECT 1; SELECT email FROM customers WHERE id = 7",
  "SELECT $$customers$$, $a$ FROM customers $a$, email FROM customers WHERE id = 7",
  "VALUES ((SELECT phone FROM customers WHERE id = 7)), ('x')",
  ["DECLARE c CURSOR FOR SELECT email FROM customers WHERE id = 7", "FETCH ALL FROM c"],
  ["PREPARE p AS SELECT email FROM customers WHERE id = 7", "EXECUTE p"],
  ["PREPARE q(text) AS SELECT count(*) FROM customers WHERE email > $1", "EXECUTE q('d')"],
];

const ROWS: readonly Attack[] = [
  "SELECT c FROM customers c WHERE id = 7",
  "SELECT c.*::text FROM customers c WHERE id = 7",
  "SELECT (c).email FROM customers c WHERE id = 7",
  "SELECT (c).* FROM customers c WHERE id = 7",
  "SELECT email(c), phone(c) FROM customers c WHERE id = 7",
  "SELECT row_to_json(c), to_jsonb(c), to_json(c) FROM customers c WHERE id = 7",
  "SELECT ROW(c.*)::text, ROW(c)::text FROM customers c WHERE id = 7",
  "SELECT json_agg(c), array_agg(c), string_agg(c::text, '') FROM customers c WHERE id < 9",
  "SELECT j.* FROM customers c, json_table(to_jsonb(c), '$' COLUMNS (e text PATH '$.email')) j",
  "SELECT x.* FROM (SELECT xmlelement(name r, xmlforest(email AS e)) AS d FROM customers WHERE id = 7) s, xmltable('/r' PASSING d COLUMNS e text PATH 'e') x",
  "SELECT * FROM json_to_record((SELECT row_to_json(c) FROM customers c WHERE id = 7)) AS r(email text)",
  "SELECT * FROM jsonb_each_text((SELECT to_jsonb(c) FROM customers c WHERE id = 7))",
  "SELECT k.* FROM customers c, LATERAL (SELECT c.*) k WHERE k.id = 7",
  "SELECT json_populate_record(c, '{\"id\": 1}') FROM customers c WHERE id = 7",
  "SELECT c IS DISTINCT FROM d FROM customers c, customer_copy d WHERE c.id = 7 AND d.id = 7",
  "SELECT md5(c::text), hashtext(email), pg_column_size(c), pg_typeof(email) FROM customers c WHERE id = 7",
];

const INFERENCE: readonly Attack[] = [
  "SELECT id FROM customers ORDER BY email, id LIMIT 20",
  "SELECT id FROM customers ORDER BY email USING <, id LIMIT 20",
  "SELECT DISTINCT ON (left(email, 1)) email FROM customers ORDER BY left(email, 1)",
  "SELECT count(DISTINCT email), count(DISTINCT left(email, 3)) FROM customers",
  "SELECT id, rank() OVER (ORDER BY email), ntile(3) OVER (ORDER BY phone, id) FROM customers WHERE id < 50",
  "SELECT id, count(*) OVER (PARTITION BY left(email, 2)) FROM customers WHERE id < 50",
  "SELECT id FROM customers WHERE email LIKE 'a%'",
  "SELECT id FROM customers WHERE email ~ '^a'",
  "SELECT id FROM customers WHERE email SIMILAR TO 'a%'",
  "SELECT id FROM customers WHERE email BETWEEN 'a' AND 'd'",
  "SELECT id FROM customers WHERE email = 'alice.ng.7@example.com'",
  "SELECT id FROM customers WHERE email IN ('alice.ng.7@example.com')",
  "SELECT id FROM customers WHERE (email, id) = ('alice.ng.7@example.com', 7)",
  "SELECT id FROM customers WHERE (email, id) IN (('alice.ng.7@example.com', 7))",
  "SELECT id FROM customers WHERE email = E'alice.ng.7\\x40example.com'",
  "SELECT id FROM customers WHERE email = U&'alice.ng.7\\0040example.com'",
  "SELECT id FROM customers WHERE email IS NOT DISTINCT FROM 'alice.ng.7@example.com'",
  "SELECT id FROM customers WHERE NULLIF(email, 'alice.ng.7@example.com') IS NULL",
  "SELECT id FROM customers WHERE email = ANY ('{alice.ng.7@example.com}')",
  "SELECT id FROM customers WHERE email >= ALL (SELECT email FROM customers)",
  "SELECT id FROM customers WHERE strpos(email, '7') > 0 OR length(name) > 10",
  "SELECT country FROM customers GROUP BY country HAVING max(email) > 'y' OR sum(length(name)) > 2000",
  "SELECT sum(length(email)), max(length(address)), avg(length(name)) FROM customers",
  "SELECT a.id, b.id FROM customers a JOIN customers b ON a.email < b.email AND a.id < 9 AND b.id < 9",
  "SELECT a.id FROM customers a LEFT JOIN customers b ON b.email = 'alice.ng.7@example.com' AND b.id = a.id WHERE b.id IS NOT NULL",
  "SELECT CASE WHEN email < 'g' THEN 1 ELSE 1 / 0 END FROM customers WHERE id = 7",
  "SELECT 1 / (CASE WHEN email LIKE 'a%' THEN 1 ELSE 0 END) FROM customers WHERE id = 7",
  "SELECT email::int FROM customers WHERE id = 7",
  "SELECT address::date, phone::inet FROM customers WHERE id = 7",
  "SELECT ('\"' || email)::json FROM customers WHERE id = 7",
  "SELECT to_date(name, 'YYYY') FROM customers WHERE id = 7",
  "SELECT count(*) FROM customers WHERE 'x' ~ email",
  "SELECT repeat('x', length(email)) FROM customers WHERE id = 7",
  "SELECT id FROM customers LIMIT (SELECT length(email) FROM customers WHERE id = 7)",
  "SELECT id FROM customers ORDER BY id OFFSET (SELECT ascii(email) FROM customers WHERE id = 7) LIMIT 1",
  "SELECT * FROM generate_series(1, (SELECT length(email) FROM customers WHERE id = 7))",
  "SELECT id FROM customers EXCEPT SELECT id FROM customers WHERE email > 'b'",
  "SELECT email FROM customers INTERSECT SELECT 'alice.ng.7@example.com'",
  "SELECT country, grouping(email), count(*) FROM customers GROUP BY ROLLUP (country, email)",
  "SELECT email, count(*) FROM customers GROUP BY GROUPING SETS ((email), (country), ())",
  "SELECT id, email FROM customers GROUP BY id HAVING email > 'b'",
  "SELECT c.id, c.email, count(t.*) FROM customers c LEFT JOIN tickets t ON t.customer_id = c.id AND t.body LIKE '%3' GROUP BY c.id",
  "SELECT percentile_disc(ARRAY[0.1, 0.5]) WITHIN GROUP (ORDER BY email), mode() WITHIN GROUP (ORDER BY name) FROM customers",
  "SELECT max(email) FILTER (WHERE id = 7), min(phone), first_value(name) OVER () FROM customers GROUP BY name LIMIT 1",
  "SELECT corr(length(email), id), regr_slope(length(name), id) FROM customers",
  "SELECT to_tsvector('simple', body) @@ to_tsquery('simple', '3') FROM tickets WHERE id < 9",
  "SELECT similar.id FROM customers similar JOIN tickets ON position(similar.name IN body) > 0",
  "EXPLAIN SELECT * FROM customers WHERE email > 'd' ORDER BY email",
  "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, SUMMARY OFF) SELECT * FROM customers WHERE email > 'd'",
  "EXPLAIN (FORMAT json) SELECT * FROM customers WHERE email = 'alice.ng.7@example.com'",
  "SELECT pg_sleep(length(email) / 1000.0) FROM customers WHERE id = 7",
  "SELECT pg_advisory_xact_lock(length(email)) FROM customers WHERE id = 7",
  "SELECT pg_notify(email, '') FROM customers",
  "SELECT set_config('application_name', email, false) FROM customers WHERE id = 7",
  "SELECT card_number IS NULL, coalesce(card_number, '-') FROM payments WHERE id < 9",
];

const CATALOGS: readonly Attack[] = [
  "SELECT * FROM pg_stats WHERE tablename = 'customers'",
  "SELECT most_common_vals::text FROM pg_catalog.pg_stats",
  "SELECT stavalues1 FROM pg_statistic",
  "SELECT * FROM pg_stats_ext",
  "SELECT query_to_xml('SELECT email FROM customers', true, true, '')",
  "SELECT table_to_xml('customers', true, true, '')",
  "SELECT schema_to_xml('public', true, true, '')",
  "SELECT * FROM ts_stat('SELECT to_tsvector(''simple'', email) FROM customers')",
  "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, to_tsquery(''simple'', name) FROM customers')",
  "SELECT cursor_to_xml('c', 10, true, true, '')",
  "SELECT current_query()",
  "SELECT * FROM pg_prepared_statements",
  "SELECT * FROM pg_cursors",
];

const WRITES: readonly Attack[] = [
  "UPDATE customers SET country = country WHERE email > 'd'",
  "UPDATE customers SET country = email WHERE id = 7",
  "UPDATE customers SET country = (SELECT public.customers.email FROM (SELECT 1 AS email) customers) WHERE id = 7 RETURNING country",
  "UPDATE customers SET country = 'x' WHERE (SELECT public.customers.email FROM (SELECT 1 AS email) customers) LIKE 'a%'",
  "UPDATE customers SET country = (SELECT (public.customers.*)::text FROM (SELECT 1) customers) WHERE id = 7 RETURNING country",
  "UPDATE customers c SET country = (SELECT c.email FROM (SELECT 1 AS x) d) WHERE id = 7 RETURNING country",
  "UPDATE customers a SET country = (SELECT s.e FROM (SELECT 1 AS email) a, (SELECT a.email AS e) s) WHERE id = 7 RETURNING country",
  "UPDATE customers a SET country = (SELECT s.e FROM (SELECT 1 AS email) a CROSS JOIN (SELECT a.email AS e) s) WHERE id = 7 RETURNING country",
  "UPDATE customers a SET country = (SELECT s.e FROM (SELECT 1 AS email) b, (SELECT email AS e) s) WHERE id = 7 RETURNING country",
  "UPDATE customers a SET country = (SELECT j.e FROM (SELECT 1 AS email) a, ((SELECT 1) b CROSS JOIN (SELECT a.email AS e) s) AS j) WHERE id = 7 RETURNING country",
  "UPDATE customers a SET country = (SELECT s.e FROM (SELECT 1 AS email) a, (SELECT a AS e) s)::text WHERE id = 7 RETURNING country",
  "UPDATE customers a SET country = (SELECT s.e FROM (SELECT 1 AS email) a, LATERAL (SELECT x.e FROM (SELECT 1) y, (SELECT a.email AS e) x) s) WHERE id = 7 RETURNING country",
  "UPDATE customers a SET country = 'x' WHERE EXISTS (SELECT FROM (SELECT 1 AS email) a, ((SELECT 1) b JOIN (SELECT 2) c ON a.email LIKE 'a%')) AND id < 50",
  "UPDATE customers a SET country = 'x' WHERE EXISTS (SELECT FROM (SELECT 1 AS email) a, ((SELECT 1) b JOIN (SELECT 2) c ON email LIKE 'a%')) AND id < 50",
  "UPDATE customers a SET country = 'x' WHERE EXISTS (SELECT FROM (SELECT 1 AS email) a, ((SELECT 1) b LEFT JOIN (SELECT 2 AS z) c ON a.email LIKE 'a%') WHERE z IS NULL) AND id < 50",
  "UPDATE customers a SET country = 'x' WHERE EXISTS (SELECT FROM (SELECT 1 AS email) a, ((SELECT 1) b JOIN (SELECT 2) c ON a.email LIKE 'a%') AS j) AND id < 50",
  "UPDATE customers a SET country = 'x' WHERE EXISTS (SELECT FROM (SELECT 1 AS email) a, (((SELECT 1) b JOIN (SELECT 2) c ON a.email LIKE 'a%') CROSS JOIN (SELECT 3) d) AS j) AND id < 50",
  "UPDATE customers SET country = (SELECT email FROM generate_series(1, 1) g) WHERE id = 7 RETURNING country",
  "UPDATE customers SET country = (SELECT email FROM (SELECT *) s) WHERE id = 7 RETURNING country",
  "UPDATE customers SET country = (WITH q AS (SELECT email) SELECT * FROM q) WHERE id = 7 RETURNING country",
  "UPDATE customers SET country = d.email FROM customer_copy d WHERE d.id = customers.id AND d.id = 7 RETURNING country",
  "UPDATE customers SET country = 'x' FROM customer_copy d WHERE d.email = customers.email",
  "UPDATE customers SET country = 'x' FROM customer_copy d WHERE d.id = customers.id AND d.email > 'd'",
  "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING *",
  "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING customers",
  "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING old.*, new.*",
  "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING new",
  "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING WITH (OLD AS o, NEW AS n) o.email, n.email",
  "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING (SELECT public.customers.email FROM (SELECT 1 AS email) customers)",
  "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING email, phone AS p, customers.address",
  "UPDATE customers SET country = 'x' WHERE id = 7 RETURNING length(email)",
  "UPDATE customers SET (country) = ROW (email) WHERE id = 7 RETURNING country",
  "UPDATE customers SET (country, created_at) = (SELECT email, created_at) WHERE id = 7 RETURNING country",
  "DELETE FROM tickets WHERE body LIKE '%3'",
  "DELETE FROM tickets USING customers c WHERE c.id = customer_id AND c.email > 'd'",
  "DELETE FROM tickets t WHERE id = 7 RETURNING t.*",
  "DELETE FROM tickets t WHERE id = 7 RETURNING t",
  "WITH d AS (DELETE FROM tickets WHERE id = 7 RETURNING *) SELECT * FROM d",
  "WITH d AS (UPDATE customers SET country = 'x' WHERE id = 7 RETURNING email, country) SELECT email FROM d",
  "WITH s AS (SELECT email FROM customers WHERE id = 7), n AS (INSERT INTO notes (body) SELECT email FROM s RETURNING body) SELECT * FROM n",
  "INSERT INTO notes (body) SELECT email FROM customers WHERE id = 7 RETURNING body",
  "INSERT INTO notes (body) WITH x AS (SELECT email FROM customers WHERE id = 7) SELECT * FROM x RETURNING body",
  "INSERT INTO notes (id, counts[(SELECT length(email) FROM public.customers WHERE id = 7)]) VALUES (5, 1) RETURNING array_dims(counts)",
  "INSERT INTO notes (id, counts[length(query_to_xml('SELECT email FROM public.customers WHERE id = 7', true, true, '')::text)]) VALUES (5, 1) RETURNING array_dims(counts)",
  "UPDATE notes SET counts[(SELECT length(email) FROM public.customers WHERE id = 7)] = 1 RETURNING array_dims(counts)",
  "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', '', '', now()) ON CONFLICT (id) DO UPDATE SET country = customers.email RETURNING country",
  "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', '', '', now()) ON CONFLICT (id) DO UPDATE SET country = 'x' WHERE customers.email > 'd' RETURNING id",
  "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', '', '', now()) ON CONFLICT (id) DO UPDATE SET country = (SELECT public.customers.email FROM (SELECT 1 AS email) customers) RETURNING country",
  "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', '', '', now()) ON CONFLICT (id) DO UPDATE SET country = customers::text RETURNING country",
  "INSERT INTO customers (id, name, email, country, created_at) VALUES (9007, '', 'alice.ng.7@example.com', '', '2024-01-01') ON CONFLICT DO NOTHING",
  "INSERT INTO customers (id, name, email, country, created_at) VALUES (9007, '', 'alice.ng.7@example.com', '', '2024-01-01')",
  "INSERT INTO customers VALUES (9007, '', 'alice.ng.7@example.com', NULL, NULL, NULL, '', '2024-01-01')",
  "INSERT INTO customers (id, name, email, country, created_at) VALUES (7, '', 'x', '', '2024-01-01') ON CONFLICT (id) DO NOTHING RETURNING *",
  "MERGE INTO customers c USING (VALUES (7)) v(i) ON c.id = v.i AND c.email > 'd' WHEN MATCHED THEN DELETE",
  "MERGE INTO notes n USING customers c ON n.id = c.id AND c.email > 'd' WHEN NOT MATCHED THEN INSERT (id) VALUES (c.id)",
  "MERGE INTO notes n USING (SELECT id, email AS e FROM customers) c ON n.id = c.id WHEN MATCHED THEN UPDATE SET body = c.e RETURNING n.body",
  "UPDATE notes SET body = s.e FROM (SELECT email AS e FROM customers WHERE id = 7) s RETURNING body",
  ["UPDATE notes SET body = (SELECT email FROM customers WHERE id = 7)", "SELECT * FROM notes"],
  [
    "DECLARE c CURSOR FOR SELECT id FROM customers WHERE id = 7 FOR UPDATE",
    "FETCH 1 FROM c",
    "UPDATE customers SET country = 'x' WHERE CURRENT OF c RETURNING email",
  ],
  "EXPLAIN UPDATE customers SET country = 'x' WHERE email > 'd'",
];

const FINDER: readonly Attack[] = [
  "SELECT id FROM customers WHERE email LIKE 'a%' AND email = 'nobody@example.com'",
  "SELECT id FROM customers WHERE email = 'nobody@example.com' OR email > 'b'",
  "SELECT count(*) FROM customers WHERE NOT (email = 'alice.ng.7@example.com')",
  "SELECT id FROM customers c LEFT JOIN tickets t ON c.email = 'alice.ng.7@example.com' AND t.customer_id = c.id WHERE c.id < 5",
  "SELECT id FROM customers WHERE name = 'Alice Ng 7'",
  "SELECT id FROM customers WHERE (email = 'alice.ng.7@example.com') IS NOT TRUE AND id < 9",
  "SELECT id FROM customers GROUP BY id, email HAVING email = 'alice.ng.7@example.com'",
  "SELECT id FROM (SELECT id, email FROM customers) s WHERE email = 'alice.ng.7@example.com'",
  "SELECT id FROM customers WHERE email || '' = 'alice.ng.7@example.com'",
  "UPDATE customers SET country = 'x' WHERE email = 'nobody@example.com' OR email > 'd'",
  "UPDATE customers SET country = 'x' WHERE email <> 'nobody@example.com'",
];

const all = (name: string, user: "cleo" | "anna", attacks: readonly Attack[]) =>
  describe(name, () => {
    test.each(attacks.map((attack) => [attack]))("%s", async (attack) => {
      const statements = typeof attack === "string" ? [attack] : attack;
      const [first, second] = [
        await received(worlds.first, user, statements),
        await received(worlds.second, user, statements),
      ];
      expect(second).toEqual(first);
    });
  });

all("a relation by another name tells nothing", "cleo", READS);
all("whole rows tell nothing", "cleo", ROWS);
all("what is inferred from protected values is inferred from masks", "cleo", INFERENCE);
all("catalogs and functions that read tell nothing", "cleo", CATALOGS);
all("writes tell nothing", "cleo", WRITES);
all("a role that finds by exact value finds by nothing else", "anna", FINDER);

test("most of these attacks tell much without masks: the comparison can fail", async () => {
  const attacks = [...READS, ...ROWS, ...INFERENCE, ...WRITES].map((attack) =>
    typeof attack === "string" ? [attack] : attack,
  );
  let telling = 0;
  for (const statements of attacks) {
    const first = await unguarded(worlds.first, statements);
    if (JSON.stringify(first) !== JSON.stringify(await unguarded(worlds.second, statements))) telling++;
  }
  expect(telling / attacks.length).toBeGreaterThan(0.75);
});
