import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { analyse } from "../../proxy/sql/analyse.ts";
import { bindStatement } from "../../proxy/sql/bind/bind-statement.ts";
import { parseText } from "../../proxy/sql/parse/parse-text.ts";
import { Source } from "../../proxy/sql/parse/source.ts";
import { factsAbout, RULES } from "../../proxy/sql/rules/judge.ts";
import { sightsOf } from "../../proxy/sql/sight.ts";
import { type Judged, openJudged } from "./judged.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `
      CREATE FUNCTION public.leak() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT email FROM public.customers';
      CREATE FUNCTION public.now(text) RETURNS text LANGUAGE sql STABLE AS 'SELECT email FROM public.customers LIMIT 1';
      CREATE DOMAIN public.nosy AS text CHECK (VALUE IS NOT NULL);
      CREATE TYPE public.mood AS ENUM ('happy', 'sad');
      CREATE SCHEMA shadow; CREATE TABLE shadow.tickets (id int); GRANT USAGE ON SCHEMA shadow TO PUBLIC;
    `,
  });
});
afterAll(() => judged.close());

const refusal = (user: "anna" | "cleo", sql: string) => {
  const verdict = judged.judge(user, sql);
  return verdict.kind === "refuse" ? verdict.refusal : undefined;
};

describe("what cannot be proved safe is refused with 42501 and a hint", () => {
  test.each([
    "SELECT query_to_xml('SELECT * FROM customers', true, true, '')",
    "SELECT pg_catalog.table_to_xml('customers', true, true, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM customers')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_terminate_backend(1)",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('search_path', 'public, pg_catalog', false)",
    "SELECT current_setting('app.jwt_secret')",
    "SELECT leak()",
    "SELECT * FROM public.leak()",
    "SELECT 'x'::public.nosy",
    "SELECT NULL::public.customers",
    "SELECT * FROM pg_stats",
    "SELECT * FROM pg_catalog.pg_statistic",
    "SELECT pg_terminate_backend(7)",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity",
    "SELECT pg_terminate_backend(public.pg_backend_pid())",
    "SELECT * FROM pg_shadow",
    "SELECT * FROM information_schema.user_mapping_options",
    "CREATE TABLE t AS SELECT * FROM customers",
    "SELECT * INTO t FROM customers",
    "CREATE VIEW v AS SELECT * FROM customers",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DO $$ BEGIN END $$",
    "CALL p()",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SET standard_conforming_strings = off",
    "SET client_encoding = latin1",
    "SET search_path = public, pg_catalog",
    "SET search_path = pg_temp, public",
    "SELECT set_config('search_path', $1, false)",
    "RESET ALL; SELECT * FROM customers",
    "RESET search_path; SELECT leak()",
    "RESET ALL; SELECT now()",
    "SET search_path = public; SELECT 'happy'::mood",
    "SET search_path = public; DECLARE c CURSOR FOR SELECT 1",
    "SELECT set_config('search_path', 'a,,b', false)",
    "SELECT set_config('role', 'none' || $1, false)",
    "SELECT set_config('session_replication_role', $1, false)",
    "SHOW app.secret",
    "LISTEN x",
    "NOTIFY x",
    "ALTER TABLE customers DISABLE TRIGGER ALL",
    "TRUNCATE customers",
    "COPY customers TO '/tmp/x'",
    "COPY customers TO PROGRAM 'cat'",
    "PREPARE TRANSACTION 'x'",
    "EXPLAIN ANALYZE SELECT * FROM customers",
    "EXPLAIN (VERBOSE) SELECT * FROM tickets",
    "LOCK TABLE pg_statistic",
    "SELECT * FROM customers; UPDATE tickets SET status = 'x'",
    "BEGIN; SELECT * FROM customers; COMMIT",
  ])("%s", (sql) => {
    const refused = refusal("anna", sql);
    expect(refused?.sqlstate).toBe("42501");
    expect(refused?.message.length).toBeGreaterThan(10);
  });

  test.each([
    ["SELECT * FROM nowhere", "42P01"],
    ["SELECT nothing(1)", "42883"],
    ["SELECT 1 FROM", "42601"],
    [`SELECT ${"(".repeat(20_000)}1${")".repeat(20_000)}`, "54001"],
    [`SELECT ${Array.from({ length: 30_000 }, () => "1").join(" + ")}`, "54001"],
    [`SELECT '${"x".repeat(300_000)}'`, "54001"],
  ])("%.60s gives %s", (sql, sqlstate) => {
    expect(refusal("anna", sql)?.sqlstate).toBe(sqlstate);
  });

  test("a syntax error points at the token, in characters of the client's text", () => {
    expect(refusal("anna", "SELECT 'é' FRO m x")?.position).toBe(16);
    expect(refusal("anna", "SELECT 1 FROM")?.position).toBe(14);
  });

  test("a name that another schema on the path has too is refused when one is guarded", () => {
    const scope = { ...judged.scope("anna"), searchPath: ["shadow", "public"] };
    const verdict = analyse("SELECT * FROM tickets", scope);
    expect(verdict.kind === "refuse" && verdict.refusal).toMatchObject({
      sqlstate: "42501",
      hint: "Write the schema before the name.",
    });
  });
});

test.each([
  "EXPLAIN CREATE TABLE t AS SELECT 1",
  "EXPLAIN REFRESH MATERIALIZED VIEW v",
  "EXPLAIN DECLARE c CURSOR FOR SELECT 1",
  "EXPLAIN ANALYZE EXECUTE p",
  "PREPARE p AS SELECT 1 INTO t",
  "CREATE INDEX i ON customers (id)",
  "ALTER DATABASE x SET work_mem = '1MB'",
  "IMPORT FOREIGN SCHEMA s FROM SERVER f INTO public",
  "SELECT * FROM GRAPH_TABLE (g MATCH (a) COLUMNS (a.x))",
  "SELECT a[1:2] FROM (SELECT 1) s (a) WHERE CURRENT OF c",
  "SELECT JSON_VALUE('{}', '$.a' PASSING 1 AS x ERROR ON ERROR)",
  "SELECT xmlserialize(CONTENT '<a/>' AS text INDENT)",
  "WITH RECURSIVE t AS (SELECT 1 a UNION ALL SELECT 2) SEARCH DEPTH FIRST BY a SET o SELECT * FROM t",
  "COPY customers FROM STDIN WHERE id IN (SELECT 1)",
  "SELECT 'x'::nowhere.t%TYPE",
  "SELECT * FROM customers TABLESAMPLE x (1)",
  "SET TRANSACTION SNAPSHOT 'x'",
  "SET XML OPTION DOCUMENT",
  "DELETE FROM tickets WHERE CURRENT OF c",
])("no message names a node of the parser's: %s", (sql) => {
  const told = JSON.stringify(judged.judge("anna", sql));
  expect(told).not.toMatch(
    /"(?:message|hint|detail)":"[^"]*(?:[A-Z][a-z]+(?:Stmt|Expr|Ref|Call|Cast|Link|Clause|Target|Var)\b|A_[A-Z]|Json[A-Z]|could not be analysed)/,
  );
});

describe("what honest clients send passes", () => {
  test.each([
    "SELECT 1",
    "SELECT now(), version(), current_user, current_setting('server_version')",
    "SELECT 'happy'::public.mood, '1'::int, '{1,2}'::int[], '2020-01-01'::date",
    "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
    "SELECT table_name FROM information_schema.tables",
    "SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_attribute a",
    "BEGIN; SELECT 1; COMMIT",
    "SET TIME ZONE 'UTC'",
    "SET client_encoding = 'UTF8'",
    "SET application_name = 'x'",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SHOW search_path",
    "RESET ALL",
    "RESET ALL; CLOSE ALL; SELECT pg_advisory_unlock_all(); UNLISTEN *; SET jit = off",
    "SET ROLE NONE",
    "SET LOCAL ROLE NONE",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET SESSION AUTHORIZATION",
    "SET session_authorization TO DEFAULT",
    "SELECT set_config('jit', $1, false)",
    "SELECT set_config('JIT', current_setting('jit'), $1)",
    "SELECT set_config('statement_timeout', $1 || 's', true)",
    "SELECT gss_authenticated, encrypted FROM pg_stat_gssapi WHERE pid = pg_backend_pid()",
    "SELECT * FROM pg_stat_ssl, pg_stat_xact_user_tables, pg_stat_user_functions, pg_stat_replication",
    "SELECT * FROM pg_prepared_xacts, pg_replication_origin, pg_stat_progress_copy, pg_stat_subscription",
    "DISCARD ALL",
    "SAVEPOINT a; ROLLBACK TO a; RELEASE a",
    "SELECT set_config('search_path', '', false)",
    "SELECT pg_advisory_lock(1)",
    "FETCH 10 FROM c",
    "CLOSE ALL",
    "",
    "  -- nothing",
  ])("%s", (sql) => {
    expect(judged.judge("anna", sql).kind).not.toBe("refuse");
  });

  test("a built-in with a namesake outside pg_catalog is named with its schema", () => {
    const verdict = judged.judge("anna", "SELECT now()");
    expect(verdict.kind === "rewrite" && verdict.sql.toString()).toBe("SELECT pg_catalog.now()");
  });

  test("every relation is named with its schema, guarded or not", () => {
    const verdict = judged.judge("anna", "SELECT relname FROM pg_class c, pg_namespace");
    expect(verdict.kind === "rewrite" && verdict.sql.toString()).toBe(
      'SELECT relname FROM "pg_catalog"."pg_class" c, "pg_catalog"."pg_namespace"',
    );
  });
});

/** Whether the rules refuse it when they are applied in this order. */
function isRefusedBy(rules: typeof RULES, user: "anna" | "ben" | "cleo", sql: string): boolean {
  const scope = judged.scope(user);
  const sights = sightsOf(scope);
  const parsed = parseText(sql);
  const [raw] = parsed.ok ? parsed.statements : [];
  if (raw === undefined) throw new Error(`not a statement: ${sql}`);
  const bound = bindStatement(raw.node, { ...scope, absent: sights.absent.bind(sights) });
  if (!bound.ok) throw new Error(`${bound.message}: ${sql}`);
  const found = factsAbout(new Source(sql), raw, bound.statement, { ...scope, sights });
  if (!found.ok) throw new Error(`${found.refusal.message}: ${sql}`);
  return rules.some((rule) => rule(found.facts) !== undefined);
}

describe("a statement is refused or not, whatever the order of the rules", () => {
  test.each([
    ["anna", "SELECT name, email FROM customers WHERE id = 7", false],
    ["anna", "SELECT leak(), 'x'::public.nosy, email FROM pg_authid, nowhere.x", true],
    [
      "anna",
      "UPDATE customers SET country = email WHERE phone LIKE '1%' RETURNING WITH (OLD AS o) o.email",
      true,
    ],
    ["anna", "INSERT INTO tickets (id, customer_id, body) SELECT 1, id, email FROM customers", true],
    [
      "anna",
      "WITH d AS (DELETE FROM customers RETURNING id) SELECT json_agg(email), random() FROM d, customers",
      true,
    ],
    ["ben", "SELECT ctid, t FROM tickets t, customers ORDER BY now('x')", true],
    ["ben", "UPDATE tickets SET status = 'x' WHERE id = 7", false],
    ["ben", "MERGE INTO tickets t USING customers c ON t.id = c.id WHEN MATCHED THEN DELETE", true],
    [
      "cleo",
      "EXPLAIN ANALYZE SELECT pg_sleep(1), query_to_xml('x', true, true, '') FROM customers FOR UPDATE",
      true,
    ],
    ["cleo", "COPY customers TO STDOUT", false],
  ] as const)("%s: %s", (user, sql, expected) => {
    const orders = RULES.map((_, index) => [...RULES.slice(index), ...RULES.slice(0, index)]);
    for (const order of [...orders, RULES.toReversed()]) expect(isRefusedBy(order, user, sql)).toBe(expected);
  });
});
