import type { EventEmitter } from "node:events";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { commandTag, STATEMENTS, TAGS } from "../../proxy/pg/statements.ts";
import { nodeOf } from "../../proxy/sql/parse/grammar.ts";
import { parseText } from "../../proxy/sql/parse/parse-text.ts";
import { freshDatabase, type TestDatabase } from "../harness/postgres.ts";

/*
 * The server says what a statement is called: in CommandComplete, and event triggers have the tag of what makes or changes an
 * object (`tg_tag`, also where CommandComplete counts rows).
 */

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("tags");
});
afterAll(() => database.drop());

/** Each is run in turn, within one transaction where it can. */
const WITHIN = [
  "CREATE TABLE t (id int PRIMARY KEY, a text)",
  "CREATE TABLE other (id int, b text)",
  "INSERT INTO t VALUES (1, 'x')",
  "UPDATE t SET a = 'y'",
  "MERGE INTO t USING other o ON o.id = t.id WHEN MATCHED THEN DELETE",
  "SELECT * FROM t",
  "VALUES (1)",
  "TABLE t",
  "WITH w AS (SELECT 1) SELECT * FROM w",
  "COPY t TO '/dev/null'",
  "EXPLAIN SELECT 1",
  "PREPARE p AS SELECT 1",
  "DEALLOCATE p",
  "DEALLOCATE ALL",
  "SAVEPOINT s",
  "ROLLBACK TO s",
  "RELEASE s",
  "DECLARE c CURSOR FOR SELECT 1",
  "FETCH c",
  "MOVE c",
  "CLOSE c",
  "CLOSE ALL",
  "SET LOCAL search_path = public",
  "SET TRANSACTION READ WRITE",
  "RESET search_path",
  "RESET ALL",
  "SHOW search_path",
  "SET CONSTRAINTS ALL IMMEDIATE",
  "DISCARD PLANS",
  "DISCARD SEQUENCES",
  "LISTEN l",
  "NOTIFY l",
  "UNLISTEN l",
  "LOCK TABLE t",
  "DO $$ BEGIN END $$",
  "CREATE PROCEDURE proc() LANGUAGE sql AS 'SELECT 1'",
  "CALL proc()",
  "ANALYZE t",
  "CREATE INDEX t_a ON t (a)",
  "CLUSTER t USING t_a",
  "REINDEX TABLE t",
  "ALTER TABLE t ADD COLUMN c int",
  "ALTER TABLE t RENAME COLUMN c TO d",
  "ALTER TABLE t RENAME CONSTRAINT t_pkey TO t_key",
  "ALTER INDEX t_a RENAME TO t_b",
  "CREATE VIEW v AS SELECT 1 AS a",
  "ALTER VIEW v RENAME COLUMN a TO b",
  "ALTER VIEW v RENAME TO w",
  "ALTER VIEW w SET SCHEMA pg_catalog",
  "CREATE SEQUENCE s",
  "ALTER SEQUENCE s RESTART",
  "ALTER SEQUENCE s OWNER TO CURRENT_USER",
  "CREATE MATERIALIZED VIEW m AS SELECT 1 AS a WITH NO DATA",
  "REFRESH MATERIALIZED VIEW m",
  "ALTER MATERIALIZED VIEW m RENAME TO n",
  "CREATE STATISTICS st ON id, a FROM t",
  "ALTER STATISTICS st SET STATISTICS 10",
  "CREATE SCHEMA made",
  "CREATE RULE r AS ON INSERT TO other DO NOTHING",
  "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
  "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
  "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION g()",
  "ALTER TRIGGER tr ON t RENAME TO ts",
  "ALTER FUNCTION f() STABLE",
  "ALTER ROUTINE f() VOLATILE",
  "ALTER PROCEDURE proc() SECURITY DEFINER",
  "ALTER FUNCTION f() OWNER TO CURRENT_USER",
  "CREATE TYPE e AS ENUM ('a')",
  "ALTER TYPE e ADD VALUE 'b'",
  "CREATE TYPE c AS (a int)",
  "ALTER TYPE c RENAME ATTRIBUTE a TO b",
  "ALTER TYPE c ADD ATTRIBUTE d int",
  "CREATE TYPE ra AS RANGE (subtype = int)",
  "CREATE TYPE shell",
  "CREATE DOMAIN dom AS int CONSTRAINT positive CHECK (value > 0)",
  "ALTER DOMAIN dom SET DEFAULT 1",
  "ALTER DOMAIN dom RENAME CONSTRAINT positive TO above",
  "CREATE AGGREGATE agg (int) (sfunc = int4pl, stype = int)",
  "CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)",
  "ALTER OPERATOR === (int, int) SET (restrict = eqsel)",
  "CREATE COLLATION co (locale = 'C')",
  "ALTER COLLATION co REFRESH VERSION",
  "CREATE CAST (c AS e) WITH INOUT",
  "CREATE OPERATOR FAMILY fam USING btree",
  "CREATE OPERATOR CLASS cls FOR TYPE int USING btree FAMILY fam AS OPERATOR 1 <",
  "ALTER OPERATOR FAMILY fam USING btree RENAME TO fam2",
  "CREATE TEXT SEARCH CONFIGURATION cfg (copy = simple)",
  "ALTER TEXT SEARCH CONFIGURATION cfg DROP MAPPING FOR word",
  "CREATE TEXT SEARCH DICTIONARY dict (template = simple)",
  "ALTER TEXT SEARCH DICTIONARY dict (stopwords)",
  "CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
  "CREATE POLICY pol ON t",
  "ALTER POLICY pol ON t RENAME TO po",
  "ALTER POLICY po ON t USING (true)",
  "GRANT SELECT ON t TO PUBLIC",
  "REVOKE SELECT ON t FROM PUBLIC",
  "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
  "CREATE ROLE tags_role",
  "GRANT tags_role TO CURRENT_USER",
  "REVOKE tags_role FROM CURRENT_USER",
  "ALTER ROLE tags_role NOLOGIN",
  "ALTER ROLE tags_role SET work_mem = '1MB'",
  "REASSIGN OWNED BY tags_role TO CURRENT_USER",
  "DROP OWNED BY tags_role",
  "DROP ROLE tags_role",
  "CREATE FOREIGN DATA WRAPPER fdw",
  "ALTER FOREIGN DATA WRAPPER fdw NO HANDLER",
  "CREATE SERVER srv FOREIGN DATA WRAPPER fdw",
  "ALTER SERVER srv VERSION '2'",
  "CREATE USER MAPPING FOR CURRENT_USER SERVER srv",
  "ALTER USER MAPPING FOR CURRENT_USER SERVER srv OPTIONS (ADD a 'b')",
  "CREATE FOREIGN TABLE ft (a int) SERVER srv",
  "ALTER FOREIGN TABLE ft ADD COLUMN b int",
  "DROP USER MAPPING FOR CURRENT_USER SERVER srv",
  "CREATE EVENT TRIGGER et ON ddl_command_start EXECUTE FUNCTION evt()",
  "ALTER EVENT TRIGGER et DISABLE",
  "CREATE PUBLICATION pub FOR TABLE t",
  "ALTER PUBLICATION pub SET TABLE t",
  "COMMENT ON TABLE t IS 'x'",
  "TRUNCATE t",
  "DROP EVENT TRIGGER et",
  "DROP TABLE other",
  "DROP FOREIGN TABLE ft",
  "DROP MATERIALIZED VIEW n",
  "DROP FUNCTION f()",
  "DROP PROCEDURE proc()",
  "DROP TYPE c CASCADE",
  "DROP PUBLICATION pub",
  "DROP POLICY po ON t",
  "DELETE FROM t",
  "ALTER FUNCTION g() DEPENDS ON EXTENSION plpgsql",
  "CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal))",
  "CREATE LANGUAGE lang HANDLER plpgsql_call_handler",
  "CREATE ACCESS METHOD am TYPE INDEX HANDLER bthandler",
  "ALTER OPERATOR FAMILY fam2 USING btree ADD OPERATOR 1 < (int8, int8)",
  "CREATE EXTENSION IF NOT EXISTS plpgsql",
  "ALTER EXTENSION plpgsql UPDATE",
  "ALTER EXTENSION plpgsql ADD VIEW pg_catalog.w",
  "CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)",
  "ALTER SUBSCRIPTION sub SET (slot_name = NONE)",
  "DROP SUBSCRIPTION sub",
];

/** With nothing around them. */
const OUTSIDE = [
  "BEGIN",
  "ROLLBACK",
  "START TRANSACTION",
  "COMMIT",
  "VACUUM",
  "CHECKPOINT",
  "DISCARD ALL",
  "DISCARD TEMP",
  "LOAD '$libdir/plpgsql'",
  "ALTER SYSTEM RESET work_mem",
  "ALTER DATABASE postgres RESET work_mem",
  "ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE pg_default",
  "ALTER DATABASE postgres CONNECTION LIMIT -1",
  "ALTER DATABASE postgres REFRESH COLLATION VERSION",
  "SET allow_in_place_tablespaces = on",
  "CREATE TABLESPACE tags_space LOCATION ''",
  "ALTER TABLESPACE tags_space SET (random_page_cost = 2)",
  "DROP TABLESPACE tags_space",
  "CREATE DATABASE tags_database",
  "DROP DATABASE tags_database",
];

function tagsOf(sql: string): string[] {
  const parsed = parseText(sql);
  if (!parsed.ok) throw new Error(`${sql}: ${parsed.refusal.message}`);
  return parsed.statements.map(({ node }) => commandTag(...nodeOf(node)));
}

test("tags are those of the server", async () => {
  const client = new pg.Client({ connectionString: database.uri });
  await client.connect();
  let told = "";
  // The driver keeps the first word of a tag only.
  const { connection } = client as unknown as { readonly connection: EventEmitter };
  connection.on("commandComplete", ({ text }: { readonly text: string }) => {
    told = text.replace(/(?: \d+)+$/, "");
  });
  await client.query("CREATE FUNCTION evt() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'");
  const own: string[] = [];
  const servers: string[] = [];
  const run = async (sql: string) => {
    await client.query(sql);
    own.push(`${sql}: ${tagsOf(sql)[0]}`);
    servers.push(`${sql}: ${told}`);
  };
  await client.query("BEGIN");
  for (const sql of WITHIN) await run(sql);
  await client.query("ROLLBACK");
  for (const sql of OUTSIDE) await run(sql);
  await client.end();
  expect(own).toEqual(servers);
  expect(own.map((line) => line.slice(line.lastIndexOf(": ") + 2)).filter((tag) => !TAGS.has(tag))).toEqual(
    [],
  );
});

test("what the server counts as rows has a tag of its own in its event triggers", async () => {
  await database.query(`
    CREATE TABLE told (tag text);
    CREATE FUNCTION telling() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO told VALUES (tg_tag); END $$;
    CREATE EVENT TRIGGER telling ON ddl_command_start EXECUTE FUNCTION telling()`);
  const statements = [
    "CREATE TABLE made AS SELECT 1 AS a",
    "SELECT 1 AS a INTO made_too",
    "CREATE MATERIALIZED VIEW seen AS SELECT 1",
  ];
  for (const sql of statements) await database.query(sql);
  const { rows } = await database.query<{ readonly tag: string }>("SELECT tag FROM told");
  await database.query("DROP EVENT TRIGGER telling");
  expect(statements.flatMap(tagsOf)).toEqual(rows.map(({ tag }) => tag));
});

test("each kind of statement is among them, but for what needs a library, and EXECUTE, which is told as what it runs", () => {
  const tried = new Set([...WITHIN, ...OUTSIDE].flatMap(nodesOf));
  const untried = ["ExecuteStmt", "SecLabelStmt", "AlterTypeStmt", "ImportForeignSchemaStmt"];
  expect(Object.keys(STATEMENTS).filter((node) => !tried.has(node))).toEqual(untried);
});

function nodesOf(sql: string): string[] {
  const parsed = parseText(sql);
  return parsed.ok ? parsed.statements.map(({ node }) => nodeOf(node)[0]) : [];
}
