import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bindStatement } from "../../../proxy/sql/bind/bind-statement.ts";
import type { Meaning } from "../../../proxy/sql/bind/bound.ts";
import { answerDependsOn } from "../../../proxy/sql/bind/dependencies.ts";
import { pinsOf } from "../../../proxy/sql/bind/pins.ts";
import { namedColumns, tablesIn } from "../../../proxy/sql/bind/questions.ts";
import { Constants } from "../../../proxy/sql/parse/constants.ts";
import { stringOf } from "../../../proxy/sql/parse/grammar.ts";
import { parseText } from "../../../proxy/sql/parse/parse-text.ts";
import { type Bench, bindText, bound, namesOf, openBench } from "./bound.ts";
import { SCHEMA } from "./statements.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await openBench(async ({ query }) => {
    await query(SCHEMA);
    await query("CREATE FUNCTION rows_of(n int) RETURNS SETOF record LANGUAGE sql AS 'SELECT 1, 2'");
    await query("CREATE FUNCTION pair(OUT first int, OUT second int) LANGUAGE sql AS 'SELECT 1, 2'");
    await query("CREATE FUNCTION shown(a) RETURNS int LANGUAGE sql AS 'SELECT 1'");
  });
});
afterAll(() => bench?.close());

const meanings = (sql: string): readonly Meaning[] => [...bound(sql, bench.environment).meanings.values()];

describe("columns that the sent text will not have", () => {
  const absent = (): Bench["environment"] => ({
    ...bench.environment,
    absent: ({ name }) => new Set(name === "b" ? ["x"] : []),
  });

  test("hide nothing further out", () => {
    const statement = bound("SELECT (SELECT max(x) FROM b) FROM a", absent());
    expect(namesOf(answerDependsOn(statement).columns)).toEqual(["a.x"]);
  });

  test("are in no star and in no whole row", () => {
    expect(bound("SELECT * FROM b", absent()).top?.outputs.map(({ name }) => name)).toEqual(["id", "z"]);
    expect(namesOf(namedColumns(bound("SELECT t FROM b t", absent())))).toEqual(["b.id", "b.z"]);
  });

  test("can be neither named nor joined by", () => {
    expect(bound("SELECT b.x FROM b", absent()).problems.map(({ sqlstate }) => sqlstate)).toEqual(["42703"]);
    const named = namedColumns(bound("SELECT 1 FROM a NATURAL JOIN b", absent()));
    expect(namesOf(named)).toEqual(["a.id", "b.id"]);
  });

  test("leave the names of an alias to the columns that they were given for", () => {
    const statement = bound("SELECT u FROM b AS t(k, m, u)", absent());
    expect(namesOf(namedColumns(statement))).toEqual(["b.z"]);
  });

  test("are in a write's target, which no subquery replaces", () => {
    const statement = bound("UPDATE b SET z = 1 WHERE x = 2 RETURNING id", absent());
    expect(namesOf(namedColumns(statement))).toContain("b.x");
  });
});

describe("a name that may be a column of unknown name", () => {
  test("is uncertain, and depends on both", () => {
    const sql = "SELECT (SELECT y FROM rows_of(1) f) FROM a";
    expect(meanings(sql).map(({ kind }) => kind)).toEqual(["uncertain"]);
    expect(namesOf(answerDependsOn(bound(sql, bench.environment)).columns)).toEqual(["a.y"]);
  });

  test("does not exist if the function's columns are apparent", () => {
    expect(meanings("SELECT (SELECT y FROM pair()) FROM a").map(({ kind }) => kind)).toEqual(["column"]);
    expect(meanings("SELECT second, f FROM pair() f").map(({ kind }) => kind)).toEqual(["column", "row"]);
  });
});

test("LOCK names relations, and has no rows", () => {
  const { kind, top, queries } = bound("LOCK TABLE a, ONLY b IN SHARE MODE", bench.environment);
  expect([kind, top, tablesIn({ queries }).map(({ alias }) => alias)]).toEqual([
    "lock",
    undefined,
    ["a", "b"],
  ]);
});

test("subscripts of an INSERT's columns see only what its source sees", () => {
  const { problems } = bound(
    "INSERT INTO a (id[x], y[(SELECT max(z) FROM b)]) VALUES (1, 2)",
    bench.environment,
  );
  expect(problems.map(({ sqlstate }) => sqlstate)).toEqual(["42703"]);
});

test("a function of the row is not taken for a column", () => {
  expect(meanings("SELECT a.shown, a.x FROM a")).toMatchObject([
    { kind: "row", call: "shown" },
    { kind: "column" },
  ]);
});

test("an aggregate belongs to the query whose columns it takes", () => {
  const { queries } = bound("SELECT (SELECT max(a.x) FROM b LIMIT 1) FROM a", bench.environment);
  expect(queries.map(({ depth, traits }) => [depth, traits.isAggregated])).toEqual([
    [1, false],
    [0, true],
  ]);
});

test("an aggregate that takes no column belongs to its own query", () => {
  const { queries } = bound("SELECT count(*), (SELECT sum(1) FROM b) FROM a", bench.environment);
  expect(queries.map(({ depth, aggregates }) => [depth, aggregates.map(({ name }) => name)])).toEqual([
    [1, ["sum"]],
    [0, ["count"]],
  ]);
});

describe("pins", () => {
  const pins = (sql: string): readonly string[] => {
    const statement = bound(sql, bench.environment);
    return statement.queries.flatMap((query) =>
      pinsOf(statement, query).map(({ column, to, holds }) => {
        const other = to.kind === "column" ? namesOf([to.column])[0] : to.kind;
        return `${namesOf([column])[0]} = ${other} ${holds}`;
      }),
    );
  };

  test("are the equalities that every row meets", () => {
    expect(
      pins("SELECT 1 FROM a WHERE (id = 7 AND x IN (1, $1)) AND y = ANY ($2) AND x > 3 AND (y = 1 OR x = 1)"),
    ).toEqual(["a.id = values in every row", "a.x = values in every row", "a.y = array in every row"]);
  });

  test("reach outer queries, and through USING", () => {
    expect(
      pins(
        "SELECT (SELECT count(*) FROM b WHERE b.id = a.id) FROM a JOIN c ON k = a.id JOIN b AS t USING (id)",
      ),
    ).toEqual([
      "b.id = a.id in every row",
      "a.id = b.id in every row",
      "a.id = b.id in every row",
      "b.id = a.id in every row",
      "c.k = a.id in every row",
      "a.id = c.k in every row",
    ]);
  });

  test("of an outer join apply to rows with a match", () => {
    expect(pins("SELECT 1 FROM a LEFT JOIN b ON b.id = 7 AND b.x IN (SELECT k FROM c)")).toEqual([
      "b.id = values where joined",
      "b.x = query where joined",
    ]);
  });
});

const operators = (sql: string): readonly string[] =>
  bound(sql, bench.environment)
    .queries.flatMap((query) => query.operators)
    .map(({ symbol, schema }) => (schema === undefined ? symbol : `${schema}.${symbol}`))
    .sort();

test.each([
  [
    "SELECT x + 1 FROM a WHERE x BETWEEN 1 AND 2 AND y NOT IN (1) AND z LIKE 'a'",
    ["+", "<=", "<>", ">=", "~~"],
  ],
  ["SELECT CASE x WHEN 1 THEN 2 END, CASE WHEN true THEN 1 END FROM a", ["="]],
  ["SELECT 1 FROM a JOIN b USING (id) WHERE (x, 1) IN (SELECT 1, 2) AND x < ALL (SELECT 1)", ["<", "=", "="]],
  ["SELECT 1 FROM a ORDER BY x USING OPERATOR(pg_catalog.<)", ["pg_catalog.<"]],
  ["SELECT array_agg(x ORDER BY x USING >), sum(x) OVER (ORDER BY x USING <) FROM a", ["<", ">"]],
  ["SELECT 1 UNION SELECT 2 ORDER BY 1 USING >", [">"]],
  ["UPDATE a SET x = -y WHERE NOT x IS DISTINCT FROM 1 RETURNING nullif(x, 1)", ["-", "=", "="]],
])("operators that are applied, written or not: %s", (sql, expected) => {
  expect(operators(sql)).toEqual(expected);
});

const types = (sql: string): readonly string[] => {
  const { queries, parameterTypes } = bound(sql, bench.environment);
  return [...queries.flatMap((query) => query.types), ...parameterTypes]
    .map(({ names = [] }) => names.map(stringOf).at(-1) ?? "")
    .sort();
};

test.each([
  ["SELECT x::text, CAST(y AS int), date '2020-01-01' FROM a", ["date", "int4", "text"]],
  ["SELECT * FROM json_to_record('{}') AS r(p int, q point)", ["int4", "point"]],
  ["SELECT * FROM XMLTABLE('/a' PASSING '<a/>' COLUMNS t text, n FOR ORDINALITY)", ["text"]],
  [
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) CYCLE n SET c TO mark 'y' DEFAULT mark 'n' USING p SELECT 1 FROM r",
    ["mark", "mark"],
  ],
  ["PREPARE p (point) AS SELECT $1", ["point"]],
  ["EXECUTE p ('(1, 2)'::point)", ["point"]],
])("types that are named: %s", (sql, expected) => {
  expect(types(sql)).toEqual(expected);
});

test("an expression in a place where Postgres allows none is bound nevertheless", () => {
  const { queries, problems } = bound("SELECT 1 AS n UNION SELECT 2 ORDER BY shown(n)", bench.environment);
  expect(queries.flatMap(({ calls }) => calls.map(({ name }) => name))).toEqual(["shown"]);
  expect(problems.map(({ sqlstate }) => sqlstate)).toEqual(["0A000"]);
});

function parsedNode(sql: string) {
  const parsed = parseText(sql);
  return parsed.ok ? parsed.statements[0]?.node : undefined;
}

test("a result that is not understood names its node", () => {
  // As a newer parser may give it.
  const changed = JSON.parse(
    JSON.stringify(parsedNode("SELECT x FROM a")).replace('"ColumnRef"', '"NewRef"'),
  );
  expect(bindStatement(changed, bench.environment)).toMatchObject({ ok: false, reason: "syntax" });
  expect(bindText("VACUUM a", bench.environment)).toMatchObject({ ok: true, statement: { kind: "utility" } });
});

test("nothing is too deep to be refused", () => {
  const deep = `SELECT ${"@ ".repeat(600)}1`;
  expect(bindText(deep, bench.environment)).toMatchObject({ ok: false, reason: "depth" });
});

test("no constant is looked at", () => {
  const parsed = parseText(
    "SELECT x, 5 AS k, a.* FROM a, (VALUES (1), (2)) v(n), generate_series(1, 3) WHERE id = 7 AND x IN (1, 2) GROUP BY 1, 2 ORDER BY 1, x LIMIT 3",
  );
  if (!parsed.ok) throw new Error(parsed.refusal.message);
  const constants = new Constants();
  constants.watch(parsed.statements);
  for (const { node } of parsed.statements) {
    const result = bindStatement(node, bench.environment);
    if (!result.ok) throw new Error(result.message);
    answerDependsOn(result.statement);
    for (const query of result.statement.queries) pinsOf(result.statement, query);
  }
  expect(constants.seen).toBe(false);
});
