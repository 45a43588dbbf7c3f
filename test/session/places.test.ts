import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { since } from "../harness/postgres-versions.ts";
import { makeWorld, type World } from "./world.ts";

/* Statements whose names are made to lead astray what Sluice puts into them, over the wire. */

const POLICY = `
version: 1
classes: { name: { mask: redact }, phone: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { name: name, phone: phone } }
roles:
  counted: { users: [anna], reads: all, sees: [name], rows: 100, budget: { 1h: 3 } }
  outsider: { users: [cleo], reads: all, writes: [public.customers], sees: [] }
  analyst: { users: [metabase], reads: all, sees: [name], aggregates_only: { min_group: 5 } }
`;

let world: World;
let anna: pg.Client;
let metabase: pg.Client;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE public.notes (id bigint, phone text, name text);
    INSERT INTO public.notes VALUES (1, 'none', 'none');
    GRANT SELECT ON public.notes TO anna, cleo, metabase;
    GRANT UPDATE ON public.customers TO cleo;`);
  anna = await world.sluice.connect("anna");
  metabase = await world.sluice.connect("metabase");
  for (const id of [1, 2, 3]) await anna.query("SELECT name FROM customers WHERE id = $1", [id]);
});
afterAll(async () => {
  await anna.end();
  await metabase.end();
  await world.close();
});

const outcome = (client: pg.Client, sql: string) =>
  client.query(sql).then(
    (results) => [results].flat().at(-1)?.rows as readonly Record<string, unknown>[],
    (error: pg.DatabaseError) => error.code,
  );

describe("a budget that is used up stays used up", () => {
  test.each([
    "SELECT exists(SELECT 1 FROM notes c), c.name, c.id, '7'::text AS rows FROM customers c WHERE c.id BETWEEN 100 AND 180",
    "WITH x AS (SELECT 1 FROM notes c) SELECT c.name, c.id, '1'::text rows FROM customers c WHERE id BETWEEN 200 AND 210",
    "SELECT 1 FROM notes c LIMIT 1; SELECT c.name, '1'::text rows FROM customers c WHERE c.id = 9",
    "SELECT c.name, '1'::text AS from FROM customers c WHERE c.id = 9",
    "SELECT c.name, '1' AS \"sluice subject\" FROM customers c WHERE c.id = 9",
    "SELECT c.name FROM (SELECT FROM notes c) s, customers c WHERE c.id = 9",
    "SELECT FROM (SELECT FROM notes c LIMIT 1) s, customers c WHERE c.id = 9",
    "SELECT c.name, c.id IS DISTINCT FROM 7 AS rows FROM customers c WHERE c.id = 9",
  ])("%s", async (sql) => {
    expect(await outcome(anna, sql)).toBe("53400");
  });

  test("and who is counted is still read, whatever the columns are called", async () => {
    const sql =
      "SELECT c.id AS rows, 'x' AS from, '7' AS \"sluice subject\", c.id IS DISTINCT FROM 7 AS distinct FROM customers c WHERE c.id = 2";
    expect(await outcome(anna, sql)).toEqual([
      { rows: "2", from: "x", "sluice subject": "7", distinct: true },
    ]);
    expect(world.sluice.statements().at(-1)).toMatchObject({ rows: 1, people: 1 });
  });
});

describe("groups of few people are left out", () => {
  test.each([
    "WITH x AS (SELECT 1 FROM notes c) SELECT c.name, count(*) rows FROM customers c WHERE c.id = 7 GROUP BY c.name",
    "SELECT 1 FROM notes c LIMIT 1; SELECT c.name, count(*) rows FROM customers c WHERE c.id = 7 GROUP BY c.name",
    "SELECT c.name, count(*) FROM (SELECT FROM notes c) s, customers c WHERE c.id = 7 GROUP BY c.name",
    "SELECT c.id, c.name, sum(c.id) FROM (SELECT FROM notes c) s, customers c GROUP BY c.id, c.name",
    "SELECT c.name, count(*) AS having FROM customers c WHERE c.id = 7 GROUP BY c.name HAVING true",
    "SELECT c.name, count(*) AS limit FROM (SELECT 1 AS having FROM notes) x, customers c WHERE c.id = 7 GROUP BY c.name",
  ])("%s", async (sql) => {
    const found = await outcome(metabase, sql);
    // Refused, or no group.
    if (typeof found !== "string") expect(found).toEqual([]);
  });

  // Before Postgres 14 ROWS was no name of a column without AS.
  test.runIf(since(14))("and of many are there", async () => {
    const found = await outcome(
      metabase,
      "SELECT country AS from, count(*) rows FROM customers c GROUP BY country",
    );
    expect(found).toEqual(expect.arrayContaining([{ from: expect.any(String), rows: expect.any(String) }]));
  });
});

test("a column that was dropped a moment ago does not become that of what is written", async () => {
  const cleo = await world.sluice.connect("cleo");
  const prepared = {
    name: "p",
    text: "UPDATE customers SET country = country WHERE id = 7 RETURNING (SELECT phone FROM notes LIMIT 1) AS p",
  };
  expect((await cleo.query(prepared)).rows).toEqual([{ p: "none" }]);
  await world.database.query("ALTER TABLE public.notes DROP COLUMN phone");
  await expect(cleo.query(prepared)).rejects.toMatchObject({ code: "42703" });
  const anew = "UPDATE customers SET country = country WHERE id = 8 RETURNING (SELECT max(phone) FROM notes)";
  await expect(cleo.query(anew)).rejects.toMatchObject({ code: "42703" });
  await cleo.end();
});
