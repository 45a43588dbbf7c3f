import fc from "fast-check";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BoundColumn, BoundStatement } from "../../../proxy/sql/bind/bound.ts";
import { answerDependsOn } from "../../../proxy/sql/bind/dependencies.ts";
import { columnsOfTables, namedColumns, tablesIn } from "../../../proxy/sql/bind/questions.ts";
import { type Bench, bindText, bound, namesOf, openBench } from "./bound.ts";
import { anyStatements, queries, SCHEMA, TABLES } from "./statements.ts";

/**
 * What an answer depends on, tested on real rows and with Postgres's own privileges. More by hand:
 * SLUICE_BIND_RUNS=20000 SLUICE_BIND_SEED=5.
 */
const RUNS = Number(process.env.SLUICE_BIND_RUNS ?? 0);
const SEED = Number(process.env.SLUICE_BIND_SEED ?? 1);
const TIME = RUNS > 0 ? 3_600_000 : 60_000;

let bench: Bench;
beforeAll(async () => {
  bench = await openBench(async ({ query, database }) => {
    await query(SCHEMA);
    await query("CREATE TABLE made (p int, q int, r int GENERATED ALWAYS AS (p + q) STORED)");
    await query(`CREATE ROLE reader_of_${database}`);
    await query(`GRANT INSERT, UPDATE, DELETE ON a, b, c TO reader_of_${database}`);
  });
});
afterAll(async () => {
  await bench?.database.query(`DROP OWNED BY ${reader()}; DROP ROLE ${reader()}`);
  await bench?.close();
});

function reader(): string {
  return `reader_of_${bench.database.database}`;
}

/** The result of `run` inside a transaction that leaves nothing behind. */
async function undone<T>(run: (client: pg.Client) => Promise<T>): Promise<T> {
  await bench.client.query("BEGIN");
  try {
    return await run(bench.client);
  } finally {
    await bench.client.query("ROLLBACK");
  }
}

/** Rows without their order, or the error. */
async function answer(client: pg.Client, sql: string): Promise<string> {
  await client.query("SAVEPOINT before");
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: "array" });
    return rows
      .map((row) => JSON.stringify(row))
      .sort()
      .join("\n");
  } catch (error) {
    await client.query("ROLLBACK TO before");
    return (error as pg.DatabaseError).code ?? "";
  }
}

/** Columns of the three tables that the answer does not depend on, by table. */
function independent(statement: BoundStatement): readonly (readonly [string, readonly string[]])[] {
  const used = columnsOfTables(bench.catalog, answerDependsOn(statement));
  return ["a", "b", "c"].map((name) => {
    const [own] = [...used].flatMap(([relation, columns]) => (relation.name === name ? [columns] : []));
    const names = new Set([...(own ?? [])].map((column) => column.name));
    return [name, (TABLES[name] ?? []).filter((column) => !names.has(column))];
  });
}

async function changeColumns(client: pg.Client, statement: BoundStatement): Promise<number> {
  let changed = 0;
  for (const [table, columns] of independent(statement)) {
    if (columns.length === 0) continue;
    await client.query(
      `UPDATE ${table} SET ${columns.map((name) => `${name} = ${name} * 3 + 17`).join(", ")}`,
    );
    changed += columns.length;
  }
  return changed;
}

test(
  "a column that an answer does not depend on may hold anything",
  async () => {
    const differing: string[] = [];
    let [answered, changed] = [0, 0];
    for (const sql of fc.sample(queries, { numRuns: RUNS || 150, seed: SEED })) {
      const result = bindText(sql, bench.environment);
      if (result?.ok !== true || result.statement.problems.length > 0 || sql.includes("ctid")) continue;
      await undone(async (client) => {
        const before = await answer(client, sql);
        if (before.length === 5) return;
        answered++;
        const count = await changeColumns(client, result.statement);
        changed += count;
        if (count > 0 && (await answer(client, sql)) !== before) differing.push(sql);
      });
    }
    expect(differing).toEqual([]);
    expect(answered).toBeGreaterThan((RUNS || 150) / 3);
    expect(changed).toBeGreaterThan(answered);
  },
  TIME,
);

/** By relation: one of its columns if none is named, because counting rows requires the privilege on some column. */
function grants(statement: BoundStatement, left: BoundColumn | undefined): readonly string[] {
  const named = [...namedColumns(statement)];
  return tablesIn(statement).flatMap((relation) => {
    if (relation.source.kind !== "table") return [];
    const { name, columns } = relation.source.relation;
    const own = named.filter((column) => column.relation === relation && nameIn(column) !== nameIn(left));
    const first = own.length === 0 && left === undefined ? [columns[0]?.name ?? ""] : [];
    return [...own.map((column) => nameIn(column)?.split(".")[1] ?? ""), ...first].map(
      (column) => `GRANT SELECT (${column}) ON ${name} TO ${reader()}`,
    );
  });
}

function nameIn(column: BoundColumn | undefined): string | undefined {
  return column && namesOf([column])[0];
}

async function isAllowed(sql: string, given: readonly string[]): Promise<string> {
  return undone(async (client) => {
    for (const grant of new Set(given)) await client.query(grant);
    await client.query(`SET LOCAL ROLE ${reader()}`);
    return client.query(`EXPLAIN ${sql}`).then(
      () => "allowed",
      (error: pg.DatabaseError) => error.code ?? "",
    );
  });
}

/**
 * A column whose privilege Postgres certainly requires. For parts that the planner removes (WITH queries and outputs
 * that are not used, outer joins that change nothing) it requires no privilege.
 */
function neededColumn(statement: BoundStatement): BoundColumn | undefined {
  const hasOuterJoins = tablesIn(statement).some(({ isNullable }) => isNullable);
  if (statement.bodyOf.size > 0 || hasOuterJoins) return undefined;
  const { columns } = answerDependsOn(statement);
  return [...namedColumns(statement)].find((column) => columns.has(column));
}

test(
  "who may read exactly the columns that a statement names may run it, and with one fewer may not",
  async () => {
    const [refused, needless]: [string[], string[]] = [[], []];
    let allowed = 0;
    for (const sql of fc.sample(anyStatements, { numRuns: RUNS || 150, seed: SEED })) {
      const result = bindText(sql, bench.environment);
      if (result?.ok !== true || result.statement.problems.length > 0) continue;
      const said = await isAllowed(sql, grants(result.statement, undefined));
      if (said === "42501") refused.push(sql);
      if (said !== "allowed") continue;
      allowed++;
      const left = neededColumn(result.statement);
      if (left !== undefined && (await isAllowed(sql, grants(result.statement, left))) === "allowed")
        needless.push(`${nameIn(left)}: ${sql}`);
    }
    expect(refused).toEqual([]);
    expect(needless).toEqual([]);
    expect(allowed).toBeGreaterThan((RUNS || 150) / 4);
  },
  TIME,
);

describe("an answer depends on", () => {
  const cases: readonly (readonly [claim: string, sql: string, columns: string])[] = [
    ["the columns shown and those that choose rows", "SELECT x FROM a WHERE y = 1", "a.x a.y"],
    ["the order of its rows", "SELECT id FROM a ORDER BY x LIMIT 1", "a.id a.x"],
    ["no column that only a subquery shows", "SELECT s.id FROM (SELECT * FROM a) s", "a.id"],
    ["what EXISTS asks for, and not what it shows", "SELECT EXISTS (SELECT x FROM a WHERE y = 1)", "a.y"],
    [
      "a correlated subquery's column outside",
      "SELECT (SELECT max(z) FROM b WHERE b.x = a.y) FROM a",
      "a.y b.x b.z",
    ],
    ["both sides of USING", "SELECT count(*) FROM a JOIN b USING (id)", "a.id b.id"],
    [
      "what a set operation compares",
      "SELECT s.n FROM (SELECT id, x FROM a EXCEPT SELECT k, w FROM c) s(n, m)",
      "a.id a.x c.k c.w",
    ],
    [
      "no value that UNION ALL passes by",
      "SELECT s.n FROM (SELECT id, x FROM a UNION ALL SELECT k, w FROM c) s(n, m)",
      "a.id c.k",
    ],
    [
      "all that a recursive query may reach",
      "WITH RECURSIVE t(n, m) AS (SELECT id, x FROM a UNION ALL SELECT m, n FROM t) SELECT n FROM t",
      "a.id a.x",
    ],
    ["what a function in FROM is given", "SELECT n FROM a, generate_series(1, a.y) AS g(n)", "a.y"],
    ["what decides how many rows a target list makes", "SELECT id, generate_series(1, y) FROM a", "a.id a.y"],
    [
      "the rows that an aggregate was made of",
      "SELECT s.m FROM (SELECT count(*) m FROM a WHERE x = 1) s",
      "a.x",
    ],
    [
      "the value that RETURNING shows",
      "UPDATE a SET x = b.z FROM b WHERE b.id = a.id RETURNING a.x",
      "a.id a.x b.id b.z",
    ],
    ["what an INSERT's source held", "INSERT INTO c SELECT id, x, y FROM a RETURNING k", "a.id a.x a.y c.k"],
    [
      "the column that GROUP BY names, and not the output",
      "SELECT max(id) AS x FROM a GROUP BY x",
      "a.id a.x",
    ],
    ["the output that ORDER BY names, and not the column", "SELECT id AS x FROM a ORDER BY x", "a.id"],
    ["the output that DISTINCT ON names", "SELECT DISTINCT ON (x) id AS x FROM a", "a.id"],
    ["every column of a whole row", "SELECT a FROM a", "a.id a.x a.y"],
    ["one column of a row", "SELECT (a).x FROM a", "a.x"],
    ["JSON made of a row", "SELECT to_json(t) FROM c t", "c.k c.w c.y"],
  ];
  test.each(cases)("%s", (_, sql, columns) => {
    expect(namesOf(answerDependsOn(bound(sql, bench.environment)).columns).join(" ")).toBe(columns);
  });

  const belowAll = (sql: string): string => {
    const used = columnsOfTables(bench.catalog, answerDependsOn(bound(sql, bench.environment)));
    const names = [...used].flatMap(([{ name }, columns]) =>
      [...columns].map((column) => `${name}.${column.name}`),
    );
    return names.sort().join(" ");
  };

  test("the tables below a view", () => {
    expect(belowAll("SELECT id FROM v")).toBe("a.id a.x a.y b.id b.x b.z v.id");
  });

  test("what a generated column is made from", () => {
    expect(belowAll("SELECT r FROM made")).toBe("made.p made.q made.r");
  });
});
