import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Draw } from "../harness/draw.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "../session/world.ts";
import { type Transcribed, transcriptsThrough } from "./transcripts.ts";
import { watchedApp } from "./watched-app.ts";

/*
 * Statements of a grammar that give rows to other people, or to nobody, as a watched role. Afterwards a direct connection
 * looks whose rows are not theirs any more, and so could be read without counting them: never more people than were charged.
 */

/** More by hand: SLUICE_ATTACK_RUNS=2000 SLUICE_ATTACK_SEED=5. */
const BY_HAND = process.env.SLUICE_ATTACK_RUNS;
const RUNS = Number(BY_HAND ?? 120);
const SEED = Number(process.env.SLUICE_ATTACK_SEED ?? 2026);
const TIME = BY_HAND === undefined ? 60_000 : 7_200_000;

const BUDGET = 30;
const PEOPLE = 80;
const policyOf = (budget: string) => `
version: 1
classes: { text: { mask: redact } }
tables:
  public.clients: { subject: id, columns: { email: text } }
  public.visits: { subject: client, columns: { said: text } }
  public.calls: { subject: client, columns: { said: text } }
  public.lines: { subject: call -> public.calls.client, columns: { said: text } }
  public.orders: { subject: client, columns: { said: text } }
  public.notes: { subject: order_id -> public.orders.client, columns: { said: text } }
  public.made_of: { subject: client, columns: { said: text } }
${watchedApp(budget)}`;
const POLICY = policyOf(`{ 1h: ${BUDGET} }`);

let world: World;
let sluice: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE regions (code text PRIMARY KEY);
    CREATE TABLE clients (id int PRIMARY KEY, region text REFERENCES regions ON DELETE CASCADE, email text);
    CREATE TABLE visits (id int PRIMARY KEY, client int REFERENCES clients ON DELETE SET NULL, said text, was int);
    CREATE TABLE calls (id int PRIMARY KEY, client int, said text, was int);
    CREATE TABLE lines (id int PRIMARY KEY, call int REFERENCES calls ON DELETE CASCADE ON UPDATE CASCADE, said text, was int);
    CREATE TABLE orders (id int PRIMARY KEY, client int, said text, was int);
    CREATE TABLE notes (id int PRIMARY KEY, order_id int, said text, was int);
    CREATE TABLE made_of (id int PRIMARY KEY, data jsonb, client int GENERATED ALWAYS AS ((data->>'client')::int) STORED, said text, was int);
    CREATE VIEW twice AS SELECT id, client AS a, client AS b FROM visits;
    CREATE VIEW computed AS SELECT id + 0 AS i FROM clients;
    CREATE TABLE plain (id int, b int);
    INSERT INTO plain SELECT i, i FROM generate_series(1, 10) i;
    CREATE SCHEMA made;
    CREATE VIEW made.plain AS SELECT id, client AS b FROM visits;
    GRANT ALL ON SCHEMA made TO helpdesk_app;
    GRANT ALL ON ALL TABLES IN SCHEMA public, made TO helpdesk_app;
    REVOKE UPDATE ON visits, calls, lines, orders, notes, made_of FROM helpdesk_app;
    GRANT UPDATE (id, data, said) ON made_of TO helpdesk_app;
    GRANT UPDATE (id, client, said) ON visits, calls, orders TO helpdesk_app;
    GRANT UPDATE (id, call, said) ON lines TO helpdesk_app;
    GRANT UPDATE (id, order_id, said) ON notes TO helpdesk_app;
  `);
  sluice = await startProxy(world.database, { policy: POLICY });
});
afterAll(async () => {
  await sluice?.close();
  await world?.close();
});

/** Tables, and their columns that lead to a person. */
const KEYS = {
  visits: "client",
  calls: "client",
  lines: "call",
  orders: "client",
  notes: "order_id",
} as const;
const TABLES = Object.keys(KEYS) as readonly (keyof typeof KEYS)[];

function condition(draw: Draw, table: string, key: string): string {
  const [a, b] = [1 + draw.below(PEOPLE), draw.below(40)];
  const t = draw.chance(50) ? "" : `${table}.`;
  return draw.of([
    `${t}id = ${a}`,
    `${t}${key} = ${a}`,
    `${t}id BETWEEN ${a} AND ${a + b}`,
    `${t}id IN (${a}, ${b + 1})`,
    `${t}said LIKE '%${a % 10}'`,
    `EXISTS (SELECT FROM clients c WHERE c.id = ${t}${key} AND c.id <= ${a})`,
    "true",
  ]);
}

/** A statement that may take rows from their people, or show a row first. */
function moves(draw: Draw): string {
  const table = draw.of(TABLES);
  const key = KEYS[table];
  const [a, b] = [1 + draw.below(PEOPLE), 1 + draw.below(PEOPLE)];
  const where = condition(draw, table, key);
  const value = draw.of([
    `${b}`,
    "NULL",
    key,
    `${key} + 1`,
    `(SELECT ${b})`,
    `(SELECT max(id) FROM clients)`,
  ]);
  const end = draw.of(["", "", " RETURNING id", " RETURNING *"]);
  switch (draw.below(16)) {
    case 0:
      return `DELETE FROM clients WHERE ${draw.of([`id = ${a}`, `id < ${b}`, `email LIKE '%${a % 10}@%'`])}${end}`;
    case 1:
      return `DELETE FROM regions WHERE code = '${draw.of(["eu", "us"])}'`;
    case 2:
      return `DELETE FROM ${table} WHERE ${where}${end}`;
    case 3:
      return `INSERT INTO ${table} (id, ${key}, said) VALUES (${a}, ${b}, 'x') ON CONFLICT (id) DO UPDATE SET ${key} = excluded.${key}, said = excluded.said${end}`;
    case 4:
      return `INSERT INTO ${table} (id, ${key}) SELECT g, ${b} FROM generate_series(1, ${a}) g ON CONFLICT (id) DO ${draw.of([`UPDATE SET ${key} = ${b}`, "NOTHING"])}${end}`;
    case 5:
      return `MERGE INTO ${table} t USING (VALUES (${a}), (${b})) v (i) ON t.id = v.i WHEN MATCHED THEN ${draw.of([`UPDATE SET ${key} = ${b}`, "DELETE"])} WHEN NOT MATCHED THEN INSERT (id, ${key}) VALUES (v.i, ${b})`;
    case 6:
      return `WITH d AS (DELETE FROM ${table} WHERE ${where} RETURNING id) INSERT INTO ${table} (id, ${key}) SELECT id, ${b} FROM d`;
    case 7:
      return `UPDATE ${table} SET ${key} = c.id FROM clients c WHERE c.id = ${table}.id + 1 AND ${condition(draw, table, key).replaceAll(/(?<![\w.])(id|said)\b(?! <=)/g, `${table}.$1`)}`;
    case 8:
      return `UPDATE ${draw.of(["calls", "orders"])} SET id = id + ${draw.of(["1000", "0"])} WHERE ${draw.of([`id = ${a}`, `id <= ${a}`])}${end}`;
    case 9:
      return `TRUNCATE ${draw.of(["orders", "calls, lines"])}`;
    case 10:
    case 11:
      return `SELECT * FROM ${table} WHERE id = ${a}`;
    default:
      return `UPDATE ${table} SET ${draw.chance(20) ? "said = said, " : ""}${key} = ${value} WHERE ${where}${end}`;
  }
}

/** Statements that take rows where they do not say so: by views, by a key that another row had, by search_path. */
function underOtherNames(draw: Draw): readonly string[] {
  const [a, b] = [1 + draw.below(PEOPLE), draw.below(50)];
  const where = draw.of([`id = ${a}`, `id BETWEEN ${a} AND ${a + b}`, "true"]);
  const table = draw.of(["visits", "calls", "orders"] as const);
  const ids = draw.many(5, () => 1 + draw.below(PEOPLE));
  const update = `UPDATE plain SET b = ${a} WHERE ${where}`;
  switch (draw.below(8)) {
    case 0:
      return [`UPDATE twice SET ${draw.of(["a", "b"])} = ${a} WHERE ${where}`];
    case 1:
      return [`DELETE FROM computed WHERE ${where.replaceAll("id", "i")}`];
    case 2:
      return [`UPDATE made_of SET data = ${draw.of(["data", `'{"client": ${a}}'`])} WHERE ${where}`];
    case 3:
      return [
        `CREATE TEMP VIEW ${draw.of(["plain", "calls"])} AS SELECT id, client AS b FROM visits`,
        ...[update, "DROP VIEW IF EXISTS pg_temp.plain, pg_temp.calls"],
      ];
    case 4:
      return [
        "CREATE VIEW made.fresh AS SELECT id, client AS b FROM visits",
        `UPDATE made.fresh SET b = ${a} WHERE ${where}`,
      ];
    case 5:
      return [
        `${draw.of(["SET search_path = made", "SELECT set_config('search_path', 'made', false)"])}; ${update}`,
        "RESET search_path",
      ];
    default: {
      const [begin, end] = draw.of([
        ["BEGIN", "ROLLBACK"],
        ["SAVEPOINT a", "ROLLBACK TO a"],
      ] as const);
      return [
        begin,
        ...ids.flatMap((id) => [
          ...[`DELETE FROM ${table} WHERE id = ${id}`, `INSERT INTO ${table} (id, client) VALUES (${id}, 1)`],
          `SELECT * FROM ${table} WHERE id = ${id}`,
        ]),
        ...[end, ...ids.map((id) => `UPDATE ${table} SET client = 1 WHERE id = ${id}`)],
      ];
    }
  }
}

async function restored(): Promise<void> {
  await world.database.query(`
    DROP VIEW IF EXISTS made.fresh;
    TRUNCATE regions, clients, visits, calls, lines, orders, notes, made_of;
    INSERT INTO regions VALUES ('eu'), ('us');
    INSERT INTO clients SELECT i, CASE WHEN i % 4 = 0 THEN 'us' ELSE 'eu' END, 'p' || i || '@example.com' FROM generate_series(1, ${PEOPLE}) i;
    ${TABLES.map(
      (table) => `INSERT INTO ${table} SELECT i, i, 'said ' || i, i FROM generate_series(1, ${PEOPLE}) i;`,
    ).join("\n")}
    INSERT INTO made_of (id, data, said, was) SELECT i, jsonb_build_object('client', i), '', i FROM generate_series(1, ${PEOPLE}) i;`);
}

/** People of whom some row is there, and is counted as somebody else's or as nobody's. */
async function peopleTaken(): Promise<number> {
  const { rows } = await world.database.query<{ n: number }>(`
    SELECT count(DISTINCT was)::int AS n FROM (
      SELECT was, client FROM visits UNION ALL SELECT was, client FROM calls UNION ALL SELECT was, client FROM orders
      UNION ALL SELECT was, client FROM made_of
      UNION ALL SELECT l.was, c.client FROM lines l LEFT JOIN calls c ON c.id = l.call
      UNION ALL SELECT n.was, o.client FROM notes n LEFT JOIN orders o ON o.id = n.order_id
    ) x WHERE was IS NOT NULL AND client IS DISTINCT FROM was`);
  return rows[0]?.n ?? -1;
}

interface Trial extends Transcribed {
  readonly taken: number;
}

function trialsThrough(sluice: TestProxy): (choices: readonly number[]) => Promise<Trial> {
  const run = transcriptsThrough(sluice);
  return async (choices) => {
    const draw = new Draw(choices);
    const statements = draw.many(4, () => (draw.chance(25) ? underOtherNames(draw) : [moves(draw)])).flat();
    await restored();
    return { ...(await run(draw, statements)), taken: await peopleTaken() };
  };
}

const CHOICES = fc.array(fc.nat(), { minLength: 12, maxLength: 60 });

test("rows are taken from no more people than the reader was charged for", { timeout: TIME }, async () => {
  const counted = { taken: 0, charged: 0, transcripts: 0, kept: 0 };
  const trial = trialsThrough(sluice);
  const work = async (choices: readonly number[]): Promise<void> => {
    const { told, taken, charged } = await trial(choices);
    if (taken > 0)
      await expect.poll(charged, { message: told, timeout: 3_000 }).toBeGreaterThanOrEqual(taken);
    expect(taken, told).toBeLessThanOrEqual(BUDGET);
    counted.transcripts++;
    counted.taken += taken;
    counted.charged += taken > 0 ? charged() : 0;
    counted.kept += taken > 0 ? 1 : 0;
  };
  await fc.assert(fc.asyncProperty(CHOICES, work), { seed: SEED, numRuns: RUNS, endOnFailure: true });
  if (BY_HAND !== undefined) console.log(counted);
  expect(counted.kept).toBeGreaterThan(RUNS / 10);
});

test("without a budget, the same statements take more", { timeout: TIME }, async () => {
  const open = await startProxy(world.database, { policy: policyOf("none") });
  const trial = trialsThrough(open);
  let most = 0;
  for (const choices of fc.sample(CHOICES, { seed: SEED, numRuns: 20 }))
    most = Math.max(most, (await trial(choices)).taken);
  expect(most).toBeGreaterThan(BUDGET);
  await open.close();
});
