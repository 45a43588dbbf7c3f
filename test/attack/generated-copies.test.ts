import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Draw } from "../harness/draw.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "../session/world.ts";
import { type Transcribed, transcriptsThrough } from "./transcripts.ts";
import { watchedApp } from "./watched-app.ts";

/*
 * Statements of a grammar that store rows, as a watched role, each transcript by a reader of its own. Afterwards a direct
 * connection counts whose canaries lie where nobody is counted: never more people than the reader was charged for.
 */

/** More by hand: SLUICE_ATTACK_RUNS=2000 SLUICE_ATTACK_SEED=5. */
const BY_HAND = process.env.SLUICE_ATTACK_RUNS;
const RUNS = Number(BY_HAND ?? 60);
const SEED = Number(process.env.SLUICE_ATTACK_SEED ?? 2026);
const TIME = BY_HAND === undefined ? 60_000 : 7_200_000;

const BUDGET = 40;
const PEOPLE = 90;
const policyOf = (budget: string) => `
version: 1
classes: { email: { mask: email }, name: { mask: initials } }
tables: { public.people: { subject: id, columns: { mail: email, name: name } } }
${watchedApp(budget)}`;
const POLICY = policyOf(`{ 1h: ${BUDGET} }`);

let world: World;
let sluice: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE people (id int PRIMARY KEY, mail text, name text, grp int, note text);
    INSERT INTO people SELECT i, 'canary' || lpad(i::text, 3, '0') || 'x', 'n' || i, i % 7, '' FROM generate_series(1, ${PEOPLE}) i;
    CREATE VIEW mails AS SELECT id, mail AS m FROM people;
    CREATE VIEW pairs AS SELECT a.id, a.mail || b.mail AS m FROM people a JOIN people b ON b.id = a.id + 1;
    CREATE VIEW groups AS SELECT grp AS id, string_agg(mail, ',') AS m FROM people GROUP BY grp;
    CREATE TABLE heap (id int, m text);
    CREATE TABLE keyed (id int PRIMARY KEY, m text);
    CREATE SCHEMA made;
    GRANT ALL ON SCHEMA made TO helpdesk_app;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app;
  `);
  sluice = await startProxy(world.database, { policy: POLICY });
});
afterAll(async () => {
  await sluice?.close();
  await world?.close();
});

const VALUES = [
  "p.mail",
  "upper(p.mail)",
  "p.mail || p.name",
  "p::text",
  "to_json(p)::text",
  "CASE WHEN p.id % 2 = 0 THEN p.mail ELSE p.name END",
  "coalesce(NULL, p.mail)",
  "concat(p.mail, (SELECT q.mail FROM people q WHERE q.id = p.id + 3))",
  "(SELECT string_agg(q.mail, '') FROM people q WHERE q.id < p.id)",
] as const;

/** A query of rows (id, m). */
function rows(draw: Draw, depth: number): string {
  const value = draw.of(VALUES);
  const [a, b] = [1 + draw.below(PEOPLE), draw.below(25)];
  const condition = draw.of([
    `p.id BETWEEN ${a} AND ${a + b}`,
    `p.id = ${a}`,
    `p.id IN (${a}, ${b + 1})`,
    `p.mail LIKE '%${a % 10}x'`,
    `p.grp = ${a % 7}`,
    "true",
  ]);
  const within = (): string => (depth > 2 ? "SELECT p.id, p.mail AS m FROM people p" : rows(draw, depth + 1));
  switch (draw.below(16)) {
    case 0:
      return `SELECT g AS id, 'nobody' AS m FROM generate_series(1, ${b}) g`;
    case 1:
      return `SELECT 1 AS id, string_agg(${value}, ',') AS m FROM people p WHERE ${condition}`;
    case 2:
      return `SELECT p.grp AS id, max(${value}) AS m FROM people p WHERE ${condition} GROUP BY p.grp`;
    case 3:
      return `SELECT p.id, ${value} || lag(p.mail, 1, '') OVER (ORDER BY p.id) AS m FROM people p WHERE ${condition}`;
    case 4:
      return `SELECT g AS id, (SELECT ${value} FROM people p WHERE p.id = g) AS m FROM generate_series(${a}, ${a + b}) g`;
    case 5:
      return `(${within()}) ${draw.of(["UNION", "UNION ALL", "EXCEPT"])} (${within()})`;
    case 6:
      return `SELECT s.id, s.m FROM (${within()}) s WHERE s.id ${draw.of(["<", ">"])} ${a}`;
    case 7:
      return `WITH x AS (${within()}) SELECT x1.id, x1.m || x2.m AS m FROM x x1 JOIN x x2 ON x2.id = x1.id + ${1 + (b % 3)}`;
    case 8:
      return `SELECT v.id, v.m FROM ${draw.of(["mails", "pairs", "groups"])} v WHERE v.id <= ${a}`;
    case 9:
      return `SELECT p.id, l.m FROM people p, LATERAL (SELECT q.mail || ${value} AS m FROM people q WHERE q.id = p.id % 9) l WHERE ${condition}`;
    case 10:
      return `SELECT DISTINCT p.grp AS id, ${value} AS m FROM people p WHERE ${condition}`;
    case 11:
      return `WITH RECURSIVE r(id, m) AS (SELECT 1, mail FROM people WHERE id = 1 UNION ALL SELECT r.id + 1, r.m || p.mail FROM r JOIN people p ON p.id = r.id + 1 WHERE r.id < ${b}) SELECT id, m FROM r`;
    case 12:
      return `SELECT p.id, ${value} AS m FROM people p WHERE ${condition} ORDER BY p.mail LIMIT ${b} OFFSET ${a % 5}`;
    default:
      return `SELECT p.id, ${value} AS m FROM people p WHERE ${condition}`;
  }
}

/** A statement that stores them. */
function stores(draw: Draw, index: number): string {
  const from = rows(draw, 0);
  const one = `SELECT DISTINCT ON (id) id, m FROM (${from}) d`;
  const end = draw.of(["", "", " RETURNING id", " RETURNING m"]);
  const statement = (): string => {
    switch (draw.below(14)) {
      case 0:
        return `CREATE TABLE made.t${index} AS ${from}`;
      case 1:
        return `SELECT s.* INTO made.t${index} FROM (${from}) s`;
      case 2:
        return `UPDATE keyed SET m = s.m FROM (${from}) s WHERE s.id = keyed.id${end.replace("id", "keyed.id").replace("RETURNING m", "RETURNING keyed.m")}`;
      case 3:
        return `UPDATE keyed SET m = (SELECT s.m FROM (${from}) s WHERE s.id = keyed.id LIMIT 1) WHERE id <= ${draw.below(PEOPLE)}`;
      case 4:
        return `MERGE INTO keyed k USING (${one}) s ON s.id = k.id WHEN MATCHED THEN UPDATE SET m = s.m WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.m)`;
      case 5:
        return `INSERT INTO keyed ${one} ON CONFLICT (id) DO UPDATE SET m = excluded.m || keyed.m${end}`;
      case 6:
        return `WITH w AS (INSERT INTO heap ${from} RETURNING *) SELECT count(*) FROM w`;
      case 7:
        return `WITH w AS (DELETE FROM heap RETURNING *), v AS (${from}) INSERT INTO keyed SELECT DISTINCT ON (v.id) v.id, v.m FROM v ON CONFLICT DO NOTHING`;
      case 8:
        return `UPDATE people SET note = ${draw.of(["mail", "upper(mail)", "(SELECT string_agg(q.mail, '') FROM people q WHERE q.id <= people.id)"])} WHERE id <= ${draw.below(30)}`;
      case 9:
        return `INSERT INTO heap VALUES (1, (SELECT s.m FROM (${from}) s LIMIT 1)), (2, (SELECT max(s.m) FROM (${from}) s))`;
      case 10:
        return `COPY (INSERT INTO heap ${from} RETURNING 1) TO STDOUT`;
      default:
        return `INSERT INTO heap ${from}${end}`;
    }
  };
  const made = statement();
  return draw.chance(7) && !made.startsWith("COPY") ? `EXPLAIN ANALYZE ${made}` : made;
}

async function emptied(): Promise<void> {
  await world.database.query(`
    DROP TABLE IF EXISTS made.t0, made.t1, made.t2;
    TRUNCATE heap, keyed;
    INSERT INTO keyed SELECT i, '' FROM generate_series(1, ${PEOPLE}) i;
    UPDATE people SET note = '' WHERE note <> ''`);
}

/** People whose canaries lie anywhere but in their own protected columns. */
async function peopleStored(): Promise<number> {
  const { rows: tables } = await world.database.query<{ name: string }>(
    "SELECT relname AS name FROM pg_class WHERE relnamespace = 'made'::regnamespace AND relkind = 'r'",
  );
  const texts = ["SELECT m FROM heap", "SELECT m FROM keyed", "SELECT note FROM people"];
  const all = [...texts, ...tables.map(({ name }) => `SELECT m FROM made.${name}`)].join(" UNION ALL ");
  const { rows: found } = await world.database.query<{ n: number }>(
    `SELECT count(DISTINCT c[1])::int AS n FROM (${all}) x, regexp_matches(m, 'canary(\\d{3})', 'gi') c`,
  );
  return found[0]?.n ?? -1;
}

interface Trial extends Transcribed {
  /** People whose canaries were stored. */
  readonly stored: number;
}

function trialsThrough(sluice: TestProxy): (choices: readonly number[]) => Promise<Trial> {
  const run = transcriptsThrough(sluice);
  return async (choices) => {
    const draw = new Draw(choices);
    const statements = draw.many(3, (index) => stores(draw, index));
    await emptied();
    return { ...(await run(draw, statements)), stored: await peopleStored() };
  };
}

const CHOICES = fc.array(fc.nat(), { minLength: 12, maxLength: 60 });

test("no more people are stored elsewhere than the reader was charged for", { timeout: TIME }, async () => {
  const counted = { stored: 0, charged: 0, transcripts: 0, kept: 0 };
  const trial = trialsThrough(sluice);
  const work = async (choices: readonly number[]): Promise<void> => {
    const { told, stored, charged } = await trial(choices);
    if (stored > 0) await expect.poll(charged, { message: told }).toBeGreaterThanOrEqual(stored);
    expect(stored, told).toBeLessThanOrEqual(BUDGET);
    counted.transcripts++;
    counted.stored += stored;
    counted.charged += stored > 0 ? charged() : 0;
    counted.kept += stored > 0 ? 1 : 0;
  };
  await fc.assert(fc.asyncProperty(CHOICES, work), { seed: SEED, numRuns: RUNS });
  if (BY_HAND !== undefined) console.log(counted);
  // Some of what is generated fits, or nothing would be shown.
  expect(counted.kept).toBeGreaterThan(RUNS / 10);
});

test("without a budget, the same statements store more", { timeout: TIME }, async () => {
  const open = await startProxy(world.database, { policy: policyOf("none") });
  const trial = trialsThrough(open);
  let most = 0;
  for (const choices of fc.sample(CHOICES, { seed: SEED, numRuns: 20 }))
    most = Math.max(most, (await trial(choices)).stored);
  expect(most).toBeGreaterThan(BUDGET);
  await open.close();
});
