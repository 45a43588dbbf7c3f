import type { EventEmitter } from "node:events";
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noiseOf, noisySql } from "../../proxy/sql/emit/perturbation.ts";
import { makeWorld, type World } from "../session/world.ts";

/** A dashboard's login that tries to learn of single people: over the wire, and in numbers. */

const POLICY = `
version: 1
classes: { email: { mask: email }, name: { mask: initials }, birth: { mask: year } }
tables:
  public.customers: { subject: id, columns: { email: email, name: name, birth_date: birth } }
  public.tickets: { subject: customer_id }
roles:
  analyst: { users: [metabase], reads: all, sees: [name], aggregates_only: { min_group: 5 } }
  exact: { users: [ben], reads: all, sees: [name], aggregates_only: { min_group: 5, noise: off } }
  counted: { users: [cleo], reads: all, sees: [], aggregates_only: { min_group: 5 }, budget: { 1d: 5000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

let world: World;
let metabase: pg.Client;
let ben: pg.Client;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(
    "CREATE TABLE notes (id bigint, body text); INSERT INTO notes VALUES (1, 'x'); GRANT SELECT ON notes TO metabase, ben",
  );
  metabase = await world.sluice.connect("metabase");
  ben = await world.sluice.connect("ben");
});
afterAll(async () => {
  await metabase?.end();
  await ben?.end();
  await world?.close();
});

describe("one person", () => {
  test.each([
    "SELECT c.name, count(*) FROM (SELECT FROM notes c) s, customers c WHERE c.id = 7 GROUP BY c.name",
    "SELECT c.id, c.name, sum(c.id) FROM (SELECT FROM notes c) s, customers c GROUP BY c.id, c.name",
    "WITH x AS (SELECT 1 FROM notes c) SELECT c.name, count(*) rows FROM customers c WHERE c.id = 7 GROUP BY c.name",
    "SELECT 1 FROM notes c LIMIT 1; SELECT c.name, count(*) rows FROM customers c WHERE c.id = 7 GROUP BY c.name",
    "SELECT count(id) FROM customers WHERE id IN (1, 2, 3, 4, 5) OR (id = 7 AND name LIKE 'Alice%')",
    "SELECT sum(id) FROM customers WHERE name LIKE 'Alice%'",
    "SELECT count(*) FROM customers WHERE get_bit('\\x00'::bytea, 100000 + ascii(birth_date::text)) = 1",
    "SELECT count(*), get_bit(''::bytea, ('x' || encode(convert_to(left(name, 7), 'UTF8'), 'hex'))::bit(56)::bigint) FROM customers GROUP BY 2",
    "SELECT count(*) FROM customers WHERE name::int = 1",
    "EXPLAIN ANALYZE SELECT count(*) FROM customers c JOIN notes n ON n.id < length(c.name)",
  ])("is not asked about: %s", async (sql) => {
    for (const client of [metabase, ben]) {
      const error = await client.query(sql).then(
        () => undefined,
        (raised: { code?: string }) => raised,
      );
      expect(error).toMatchObject({ code: "42501" });
    }
  });
});

/** Whether the customers who came in each of the first hours are of DE: each is the one in whom two groups differ. */
async function differences(client: pg.Client, hours: number): Promise<readonly boolean[]> {
  const counts: number[] = [];
  for (let hour = 50; hour <= 50 + hours; hour++) {
    const { rows } = await client.query<{ count: string }>(
      "SELECT count(*) FROM customers WHERE country <> 'DE' AND created_at <= $1",
      [new Date(Date.UTC(2023, 0, 1, hour))],
    );
    counts.push(Number(rows[0]?.count));
  }
  return counts.slice(1).map((count, index) => count !== counts[index]);
}

describe("two groups that differ by one person", () => {
  test("tell of that person without noise, and one time in five or so with it", async () => {
    const { rows } = await world.database.query<{ bit: boolean }>(
      "SELECT country <> 'DE' AS bit FROM customers WHERE id BETWEEN 51 AND 150 ORDER BY id",
    );
    const truth = rows.map(({ bit }) => bit);
    expect(await differences(ben, 100)).toEqual(truth);
    const told = await differences(metabase, 100);
    expect(told.filter((bit, index) => bit && !truth[index])).toEqual([]);
    const found = told.filter(Boolean).length / truth.filter(Boolean).length;
    expect(found).toBeGreaterThan(0.05);
    expect(found).toBeLessThan(0.4);
  });
});

/** What COPY gives out as text. */
async function copied(sql: string): Promise<string> {
  const client = await world.sluice.connect("metabase");
  try {
    const parts: string[] = [];
    const { connection } = client as unknown as { connection: EventEmitter };
    connection.on("copyData", ({ chunk }: { chunk: Buffer }) => parts.push(chunk.toString()));
    await client.query(sql);
    return parts.join("").trim();
  } finally {
    await client.end();
  }
}

describe("one group has one number", () => {
  test("in each form of an answer, and however it is asked for", async () => {
    const where = "country IN ('DE', 'FR') AND created_at >= '2023-01-02'";
    const sql = `SELECT count(*) FROM customers WHERE ${where}`;
    const asked = [
      sql,
      `SELECT pg_catalog.count(*) FROM public.customers c WHERE created_at >= '2023-01-02' AND (country = 'FR' OR country = 'DE')`,
      `SELECT count(1) FROM customers WHERE created_at >= '2023-01-02' AND country = ANY ('{FR,DE}')`,
      `SELECT count(DISTINCT id) FROM customers WHERE ${where}`,
      `SELECT count(id) FROM customers WHERE NOT (country NOT IN ('DE', 'FR')) AND date_trunc('day', created_at) >= '2023-01-02'`,
      `SELECT n FROM (SELECT count(country) AS n FROM customers WHERE ${where}) s`,
      `SELECT count(*) FROM customers WHERE ${where} HAVING count(*) > 10`,
    ];
    const answers = new Set<string>();
    for (const text of asked) {
      const { rows } = await metabase.query<string[]>({ text, rowMode: "array" } as pg.QueryArrayConfig);
      answers.add(String(rows[0]?.[0]));
    }
    const binary = await metabase.query({ text: sql, binary: true } as pg.QueryConfig);
    answers.add(String((binary.rows[0] as { count: bigint }).count));
    await metabase.query("BEGIN");
    await metabase.query(`DECLARE k CURSOR FOR ${sql}`);
    answers.add((await metabase.query<{ count: string }>("FETCH ALL FROM k")).rows[0]?.count ?? "");
    await metabase.query("COMMIT");
    answers.add(await copied(`COPY (${sql}) TO STDOUT`));
    expect([...answers]).toHaveLength(1);
    const { rows } = await world.database.query<{ count: string }>(sql);
    expect(Math.abs(Number([...answers][0]) - Number(rows[0]?.count))).toBeLessThan(5);
  });

  test("also where a table is joined to itself by the person: each figure would be another draw", async () => {
    const answers = new Set<string>();
    for (let copies = 0; copies < 6; copies++) {
      const joins = Array.from({ length: copies }, (_, i) => `JOIN customers d${i} ON d${i}.id = c.id`);
      const { rows } = await metabase.query<{ country: string; count: string; people: string }>(
        `SELECT c.country, count(*), count(DISTINCT c.id) AS people FROM customers c ${joins.join(" ")} WHERE c.created_at >= '2023-01-04' GROUP BY 1 ORDER BY 1`,
      );
      expect(rows.length).toBeGreaterThan(3);
      answers.add(JSON.stringify(rows));
    }
    expect([...answers]).toHaveLength(1);
  });

  test("for a login that has a budget as well, and by the year that a mask shows", async () => {
    const cleo = await world.sluice.connect("cleo");
    try {
      const sql =
        "SELECT extract(year FROM birth_date) AS born, count(*) FROM customers WHERE birth_date < '1980-01-01' GROUP BY 1 ORDER BY 1";
      const asked = await Promise.all([metabase, cleo].map((client) => client.query(sql)));
      expect(asked[0]?.rows.length).toBeGreaterThan(10);
      expect(asked[1]?.rows).toEqual(asked[0]?.rows);
      expect(asked[1]?.fields).toHaveLength(2);
    } finally {
      await cleo.end();
    }
  });

  test("texts of statements with the keys of the noise are shown to nobody", async () => {
    for (const client of [metabase, ben]) {
      const { rows } = await client.query<{ query: string | null }>("SELECT query FROM pg_stat_activity");
      expect(rows.every(({ query: text }) => text === null)).toBe(true);
    }
    await expect(metabase.query("EXPLAIN SELECT count(*) FROM customers")).rejects.toMatchObject({
      code: "42501",
    });
  });
});

interface Cell {
  readonly world: number;
  readonly group: number;
  /** The person about whom the attacker asks is in it. */
  readonly bit: number;
  readonly truth: number;
  readonly answer: number;
}

/** In each world one person; 100 groups of 20 to 59 others, each with that person and without. */
async function cells(): Promise<readonly Cell[]> {
  const counted = noisySql(
    { name: "count", argument: undefined, distinct: false, type: undefined, people: ["p"] },
    noiseOf(5, Buffer.alloc(32, 9)),
  );
  const { rows } = await world.database.query<Cell>(`
    SELECT world, "group", bit, count(*)::int AS truth, ${counted}::int AS answer
    FROM generate_series(1, 20) world, generate_series(1, 100) "group", generate_series(0, 1) bit,
      LATERAL (SELECT k + "group" * 61 + world * 100003 AS p FROM generate_series(1, 20 + "group" * 7 % 40) k
               UNION ALL SELECT 5000000 + world WHERE bit = 1) people
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`);
  return rows;
}

/** How often a guess of the person's bit is right, from `many` groups whose other people the attacker knows. */
function averaged(all: readonly Cell[], many: number): number {
  const guesses: boolean[] = [];
  for (const bit of [0, 1]) {
    for (let at = 1; at <= 20; at++) {
      const without = all.filter((cell) => cell.world === at && cell.bit === 0);
      const asked = all.filter((cell) => cell.world === at && cell.bit === bit);
      for (let first = 0; first + many <= asked.length; first += many) {
        const excess = asked
          .slice(first, first + many)
          .reduce((sum, { answer }, index) => sum + answer - (without[first + index]?.truth ?? 0), 0);
        guesses.push(excess / many > 0.5 === (bit === 1));
      }
    }
  }
  return guesses.filter(Boolean).length / guesses.length;
}

// docs/aggregates.md has these figures.
test("the noise is bounded, right on average, and seldom tells of one person more", async () => {
  const all = await cells();
  const errors = all.map(({ answer, truth }) => answer - truth);
  expect(Math.max(...errors.map(Math.abs))).toBeLessThan(5);
  expect(Math.abs(errors.reduce((sum, error) => sum + error, 0) / errors.length)).toBeLessThan(0.15);
  const joined = all.filter(({ bit }) => bit === 1);
  const without = all.filter(({ bit }) => bit === 0);
  const changed =
    joined.filter(({ answer }, index) => answer !== without[index]?.answer).length / joined.length;
  expect(changed).toBeGreaterThan(0.15);
  expect(changed).toBeLessThan(0.27);
  const [one, ten, hundred] = [averaged(all, 1), averaged(all, 10), averaged(all, 100)];
  expect(one).toBeLessThan(0.65);
  expect(ten).toBeLessThan(0.87);
  expect(hundred).toBeGreaterThan(0.9);
});
