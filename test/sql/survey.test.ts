import { describe, expect, test } from "vitest";
import type { Catalog } from "../../proxy/catalog/catalog.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { survey, surveyLong } from "../../proxy/sql/survey.ts";
import { groupOf, imagine, readCorpus } from "./corpus.ts";

const EMPTY: Catalog = {
  database: "support",
  serverVersion: 180000,
  version: "empty",
  relations: new Map(),
  relationsByOid: new Map(),
  relationsByName: new Map(),
  schemas: new Set(["public"]),
  functionsByName: new Map(),
  functionsByOid: new Map(),
  operatorsOutside: new Map(),
  casts: [],
  typesByName: new Map(),
  typesByOid: new Map(),
};

/** The parts of a scope that the survey reads. */
const scopeOf = (sql: string): Scope =>
  ({ catalog: imagine(EMPTY, sql), searchPath: ["public"] }) as unknown as Scope;
const surveyed = (sql: string) => survey(sql, scopeOf(sql));
const defines = (sql: string) => surveyed(sql).some(({ effect }) => effect?.kind === "definition");

describe("a statement that may change the catalog causes it to be read again", () => {
  test.each([
    ["CREATE TABLE t (a int)", "CREATE TABLE"],
    ["CREATE TABLE t AS SELECT 1", "CREATE TABLE AS"],
    ["CREATE MATERIALIZED VIEW t AS SELECT 1", "CREATE MATERIALIZED VIEW"],
    ["SELECT 1 AS a INTO t", "SELECT INTO"],
    ["SELECT 1 AS a INTO t UNION SELECT 2", "SELECT INTO"],
    ["EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", "EXPLAIN"],
    ["ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE"],
    ["ALTER TABLE t RENAME TO u", "ALTER TABLE"],
    ["ALTER VIEW v OWNER TO anna", "ALTER VIEW"],
    ["DROP VIEW v", "DROP VIEW"],
    ["GRANT SELECT ON t TO anna", "GRANT"],
    ["REVOKE SELECT ON t FROM anna", "REVOKE"],
    ["DO $$ BEGIN END $$", "DO"],
    ["CALL p()", "CALL"],
    ["COMMIT PREPARED 'x'", "COMMIT PREPARED"],
    ["IMPORT FOREIGN SCHEMA s FROM SERVER f INTO public", "IMPORT FOREIGN SCHEMA"],
  ])("%s", (sql, command) => {
    expect(defines(sql)).toBe(true);
    expect(surveyed(sql)[0]?.command).toBe(command);
  });

  test("each of several statements is surveyed", () => {
    expect(surveyed("SELECT 1; DROP TABLE t; COMMIT").map(({ kind }) => kind)).toEqual([
      "read",
      "definition",
      "transaction",
    ]);
  });
});

describe("a statement that leaves the catalog unchanged does not", () => {
  test.each([
    "SELECT 1",
    "INSERT INTO t VALUES (1)",
    "TRUNCATE t",
    "VACUUM t",
    "COPY t FROM STDIN",
    "SET search_path TO a",
    "REFRESH MATERIALIZED VIEW v",
    "EXPLAIN SELECT 1",
    "COMMIT",
  ])("%s", (sql) => {
    expect(defines(sql)).toBe(false);
  });
});

test("a text that is too long to parse counts by its words: a long INSERT changes nothing", () => {
  expect(defines(`CREATE TABLE t (${"x".repeat(300_000)} int)`)).toBe(true);
  expect(defines(`INSERT INTO t VALUES ('${"x".repeat(300_000)}')`)).toBe(false);
});

test("a write names its target, and what it reads", () => {
  const [statement] = surveyed("INSERT INTO a SELECT * FROM b");
  expect(statement).toMatchObject({
    command: "INSERT",
    kind: "write",
    writes: ["public.a"],
    reads: ["public.a", "public.b"],
  });
});

const regress = await readCorpus("regress");

test.skipIf(regress === undefined)(
  "every kind of statement in Postgres's regression tests that is no query or utility counts as a definition",
  () => {
    const other = ["TRUNCATE TABLE", "VACUUM", "ANALYZE", "REFRESH MATERIALIZED VIEW", "CHECKPOINT", "LOAD"];
    const missed = (regress ?? []).filter(
      ({ sql }) =>
        groupOf(sql) === "definition" &&
        !defines(sql) &&
        !surveyed(sql).some(({ command }) => other.includes(command)),
    );
    expect(missed).toEqual([]);
  },
);

test("a text that is too long to parse is on record with its kind and its tables", () => {
  const catalog = "insert into t select * from u";
  const columns = Array.from({ length: 2_000 }, (_, n) => `a + b${n}`).join(", ");
  expect(survey(`INSERT INTO t SELECT ${columns} FROM u`, scopeOf(catalog))).toMatchObject([
    { command: "INSERT", kind: "write", reads: ["public.t", "public.u"], writes: ["public.t"] },
  ]);
});

test("of a text of megabytes only the beginning is looked at, and it may define anything", () => {
  const scope = scopeOf("insert into t values (1)");
  const long = Buffer.from(`INSERT INTO t VALUES ('${"x".repeat(2 * 1024 * 1024)}')`);
  expect(surveyLong(long, scope)).toMatchObject([
    { command: "INSERT", writes: ["public.t"], effect: { kind: "definition" } },
  ]);
  expect(surveyLong(Buffer.from("INSERT INTO t VALUES (1)"), scope)).toBeUndefined();
});
