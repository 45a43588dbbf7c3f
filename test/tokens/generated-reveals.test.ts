import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Draw } from "../harness/draw.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy } from "../harness/proxy.ts";
import { query } from "../harness/raw-client.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

/*
 * Statements of a grammar that read a column of tokens, each transcript with counters of its own: whatever the client
 * sends, the numbers of no more people come back than `reveals:` allows.
 */

/** More by hand: SLUICE_ATTACK_RUNS=2000 SLUICE_ATTACK_SEED=5. */
const BY_HAND = process.env.SLUICE_ATTACK_RUNS;
const RUNS = Number(BY_HAND ?? 80);
const SEED = Number(process.env.SLUICE_ATTACK_SEED ?? 2026);
const TIME = BY_HAND === undefined ? 60_000 : 7_200_000;

const LIMIT = 6;
const PEOPLE = 60;

const sealer = sealerOf(keyLine(1, 9));

const policyOf = (limits: string) => `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  name: { mask: initials }
  phone: { mask: { last: 2 }, stored: token, joinable: true }
tables:
  public.people: { subject: id, columns: { phone: phone, mobile: phone, name: name } }
  public.calls: { subject: person, columns: { number: phone } }
  public.numbers: { columns: { number: phone } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  lead:
    users: [ben]
    reads: all
    writes: [public.people, public.calls]
    sees: [name, phone]
    ${limits}
`;

let server: RunningPostgres;
let database: TestDatabase;
beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "revealed");
  await database.query(`
    CREATE TABLE people (id int PRIMARY KEY, name text, phone text, mobile text, grp int);
    CREATE TABLE calls (id int PRIMARY KEY, person int REFERENCES people, number text);
    CREATE TABLE numbers (id int PRIMARY KEY, number text);
    CREATE VIEW listed AS SELECT id, phone AS number FROM people;
    CREATE VIEW pairs AS SELECT a.id, a.phone AS number, b.mobile AS other FROM people a JOIN people b ON b.id = a.id + 1;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, ben;
  `);
  const seeding = await startProxy(database, { policy: policyOf("budget: none"), tokens: sealer });
  const app = await seeding.connect("helpdesk_app");
  for (let id = 1; id <= PEOPLE; id++) {
    const two = String(id).padStart(2, "0");
    await app.query("INSERT INTO people VALUES ($1, $2, $3, $4, $5)", [
      id,
      `Person ${two}`,
      `+49 30 10${two}`,
      id % 5 === 0 ? null : `+49 170 20${two}`,
      id % 7,
    ]);
  }
  // Every third call is nobody's, and the numbers have no subject.
  await app.query(
    "INSERT INTO calls SELECT id, CASE WHEN id % 3 > 0 THEN 1 + id % 50 END, phone FROM people",
  );
  await app.query("INSERT INTO numbers SELECT id, mobile FROM people");
  await app.end();
  await seeding.close();
});
afterAll(async () => {
  await database?.drop();
  await server?.stop();
});

const VALUES = [
  "p.phone",
  "p.mobile",
  "coalesce(p.mobile, p.phone)",
  "CASE WHEN p.id % 2 = 0 THEN p.mobile ELSE p.phone END",
  "(SELECT q.phone FROM people q WHERE q.id = p.id + 3)",
  "(SELECT c.number FROM calls c WHERE c.id = p.id)",
  "(SELECT n.number FROM numbers n WHERE n.id = p.id)",
  "p.phone::text",
] as const;

/** A query of rows (id, m). */
function rows(draw: Draw, depth = 0): string {
  const value = draw.of(VALUES);
  const [a, b] = [1 + draw.below(PEOPLE), draw.below(12)];
  const condition = draw.of([
    `p.id BETWEEN ${a} AND ${a + b}`,
    `p.id = ${a}`,
    `p.id IN (${a}, ${b + 1})`,
    `p.phone = '+49 30 10${String(a).padStart(2, "0")}'`,
    `p.grp = ${a % 7}`,
    "true",
  ]);
  const within = (): string =>
    depth > 1 ? `SELECT p.id, p.phone AS m FROM people p WHERE p.id > ${a}` : rows(draw, depth + 1);
  switch (draw.below(18)) {
    case 0:
      return `SELECT DISTINCT p.grp AS id, ${value} AS m FROM people p WHERE ${condition}`;
    case 1:
      return `SELECT count(*) AS id, ${value} AS m FROM people p WHERE ${condition} GROUP BY 2`;
    case 2:
      return `SELECT g AS id, (SELECT ${value} FROM people p WHERE p.id = g) AS m FROM generate_series(${a}, ${a + b}) g`;
    case 3:
      return `(${within()}) ${draw.of(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"])} (${within()})`;
    case 4:
      return `SELECT s.id, s.m FROM (${within()}) s WHERE s.id ${draw.of(["<", ">"])} ${a}`;
    case 5:
      return `WITH x AS ${draw.of(["", "MATERIALIZED "])}(${within()}) SELECT x1.id, x2.m FROM x x1 JOIN x x2 ON x2.id = x1.id + ${1 + (b % 3)}`;
    case 6:
      return `SELECT v.id, v.number AS m FROM ${draw.of(["listed", "pairs"])} v WHERE v.id <= ${a}`;
    case 7:
      return `SELECT v.id, v.other AS m FROM pairs v WHERE v.id BETWEEN ${a} AND ${a + b}`;
    case 8:
      return `SELECT p.id, l.m FROM people p, LATERAL (SELECT q.phone AS m FROM people q WHERE q.id = p.id % 9 + ${b}) l WHERE ${condition}`;
    case 9:
      return `WITH RECURSIVE r(id, m) AS (SELECT 1, phone FROM people WHERE id = 1 UNION ALL SELECT p.id, p.phone FROM r JOIN people p ON p.id = r.id + 1 WHERE r.id < ${b}) SELECT id, m FROM r`;
    case 10:
      return `SELECT p.id, ${value} AS m FROM people p WHERE ${condition} ORDER BY p.id LIMIT ${b} OFFSET ${a % 5}`;
    case 11:
      return `SELECT c.id, c.number AS m FROM calls c WHERE c.person ${draw.of(["IS NULL", `= ${a}`, `< ${b}`])}`;
    case 12:
      return `SELECT n.id, n.number AS m FROM numbers n WHERE n.id BETWEEN ${a} AND ${a + b}`;
    case 13:
      return `SELECT p.id, c.number AS m FROM people p ${draw.of(["LEFT ", "", "FULL "])}JOIN calls c ON c.number = p.phone WHERE ${condition}`;
    case 14:
      return `SELECT p.id, first_value(p.phone) OVER (ORDER BY p.id ROWS 1 PRECEDING) AS m FROM people p WHERE ${condition}`;
    case 15:
      return `SELECT p.id, p AS m FROM people p WHERE ${condition}`;
    case 16:
      return `SELECT p.grp AS id, array_agg(p.phone) AS m FROM people p WHERE ${condition} GROUP BY p.grp`;
    default:
      return `SELECT p.id, ${value} AS m FROM people p WHERE ${condition}`;
  }
}

/** A statement that shows rows of it. */
function reads(draw: Draw): string {
  const from = rows(draw);
  switch (draw.below(10)) {
    case 0:
      return `SELECT m FROM (${from}) s`;
    case 1:
      return `SELECT s.m, t.m FROM (${from}) s, (${rows(draw)}) t`;
    case 2:
      return `UPDATE people p SET name = p.name WHERE p.id <= ${draw.below(9)} RETURNING ${draw.of(VALUES)}`;
    case 3:
      return `UPDATE calls c SET number = c.number FROM people p WHERE p.id = c.id + 1 AND c.id < ${draw.below(9)} RETURNING ${draw.of(["p.phone", "c.number", "p.mobile"])}`;
    case 4:
      return `SELECT (SELECT m FROM (${from}) s LIMIT 1), (SELECT max(id) FROM (${rows(draw)}) t)`;
    default:
      return from;
  }
}

interface Transcript {
  readonly told: string;
  readonly messages: readonly Buffer[];
  /** How many times the server says that it is ready. */
  readonly ends: number;
}

function transcript(draw: Draw): Transcript {
  const statements = draw.many(6, () => reads(draw));
  const texts = (all: readonly string[]): Transcript => ({
    told: all.join(";\n"),
    messages: all.map(query),
    ends: all.length,
  });
  switch (draw.below(7)) {
    case 0:
      return texts(
        statements.map((sql) => (sql.startsWith("UPDATE") ? sql : `COPY (${sql}) TO STDOUT (FORMAT csv)`)),
      );
    case 1:
      return texts([
        "BEGIN",
        ...statements.flatMap((sql, index) =>
          sql.startsWith("UPDATE")
            ? [sql]
            : [
                `DECLARE c${index} CURSOR FOR ${sql}`,
                `FETCH ${1 + draw.below(4)} FROM c${index}`,
                `FETCH ALL FROM c${index}`,
              ],
        ),
        draw.of(["COMMIT", "ROLLBACK"]),
      ]);
    case 2:
      return texts(statements.flatMap((sql, index) => [`PREPARE q${index} AS ${sql}`, `EXECUTE q${index}`]));
    case 3:
      return texts([statements.join(";\n")]);
    case 4:
    case 5: {
      const most = draw.below(4);
      const isOnePipeline = draw.chance(50);
      const each = statements.map((sql) => [
        parseMessage("", Buffer.from(sql)),
        bindMessage("", ""),
        executeMessage("", most),
        executeMessage("", 0),
        ...(isOnePipeline ? [] : [syncMessage]),
      ]);
      return {
        told: statements.join(";\n"),
        messages: [...each.flat(), ...(isOnePipeline ? [syncMessage] : [])],
        ends: isOnePipeline ? 1 : statements.length,
      };
    }
    default:
      return texts(statements);
  }
}

/** The people whose numbers are in what the client has got. */
function revealedIn(bytes: Buffer): ReadonlySet<string> {
  return new Set(
    [...bytes.toString("latin1").matchAll(/\+49 (?:30 1|170 2)0(\d\d)/g)].map(([, id]) => id ?? ""),
  );
}

async function revealed({ messages, ends, told }: Transcript, limits: string): Promise<number> {
  const sluice = await startProxy(database, { policy: policyOf(limits), tokens: sealer });
  try {
    const raw = await sluice.raw("ben");
    raw.send(...messages);
    const got: Buffer[] = [];
    for (let i = 0; i < ends; i++) got.push(...(await raw.until("Z")).map(({ bytes }) => bytes));
    raw.socket.destroy();
    return revealedIn(Buffer.concat(got)).size;
  } catch (error) {
    throw new Error(told, { cause: error });
  } finally {
    await sluice.close();
  }
}

const choices = fc.array(fc.nat(), { minLength: 12, maxLength: 80 });

test(`no more than ${LIMIT} people's numbers are turned back, whatever is sent`, {
  timeout: TIME,
}, async () => {
  const counted = { transcripts: 0, people: 0, full: 0 };
  const work = async (chosen: readonly number[]): Promise<void> => {
    const made = transcript(new Draw(chosen));
    const people = await revealed(made, `reveals: { phone: { 1d: ${LIMIT} } }`);
    counted.transcripts++;
    counted.people += people;
    if (people === LIMIT) counted.full++;
    expect(people, made.told).toBeLessThanOrEqual(LIMIT);
  };
  await fc.assert(fc.asyncProperty(choices, work), { seed: SEED, numRuns: RUNS });
  if (BY_HAND !== undefined) console.log(counted);
  // Many transcripts reach the limit, or nothing would be shown.
  expect(counted.full).toBeGreaterThan(RUNS / 10);
});

test("without the limit, the same statements show more", { timeout: TIME }, async () => {
  const most = Math.max(
    ...(await Promise.all(
      fc
        .sample(choices, { seed: SEED, numRuns: 12 })
        .map(async (chosen) => await revealed(transcript(new Draw(chosen)), "budget: none")),
    )),
  );
  expect(most).toBeGreaterThan(LIMIT);
});
