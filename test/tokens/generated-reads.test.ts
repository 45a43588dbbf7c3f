import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { Draw } from "../harness/draw.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

/*
 * Statements of a grammar that read columns of tokens, beside the same statements on a database in the clear: the answer is
 * the same, or the statement is refused. What is shown as a token is no value, and is not compared.
 */

/** More by hand: SLUICE_ATTACK_RUNS=5000 SLUICE_ATTACK_SEED=5. */
const BY_HAND = process.env.SLUICE_ATTACK_RUNS;
const RUNS = Number(BY_HAND ?? 400);
const SEED = Number(process.env.SLUICE_ATTACK_SEED ?? 2026);
const TIME = BY_HAND === undefined ? 60_000 : 7_200_000;

const sealer = sealerOf(keyLine(1, 9));

const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true, searches: [case] }
  phone: { mask: { last: 2 }, stored: token, searches: [last4] }
tables:
  public.people: { subject: id, columns: { email: email, phone: phone } }
  public.mails: { subject: person, columns: { sender: email } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  watched: { users: [metabase], reads: all, writes: all, sees: all, watch: true }
  lead: { users: [ben], reads: all, sees: [email, phone] }
`;

const SETUP = `
  CREATE TABLE people (id int PRIMARY KEY, email text, phone text, note text, grp int);
  CREATE TABLE mails (id int PRIMARY KEY, person int, sender text, body text);
  CREATE VIEW listed AS SELECT id, email, phone, note, grp FROM people WHERE note IS NOT NULL;
  CREATE VIEW filled AS SELECT id, coalesce(email, '') AS email, phone, note || '' AS note, grp FROM people;
  CREATE VIEW shouted AS SELECT id, upper(email) AS email, left(phone, 3) AS phone, note, grp FROM listed;
  CREATE VIEW united AS SELECT id, email, phone, note, grp FROM people UNION ALL SELECT id, sender, NULL, body, person FROM mails;
  CREATE VIEW joined AS SELECT p.id, m.sender AS email, p.phone, concat(p.note, m.body) AS note, p.grp FROM people p JOIN mails m ON m.person = p.id;
  CREATE VIEW grouped AS SELECT min(id) AS id, email, max(phone) AS phone, max(note) AS note, count(*)::int AS grp FROM people GROUP BY email;
  CREATE VIEW chosen AS SELECT id, CASE WHEN grp > 1 THEN email END AS email, (SELECT q.phone FROM people q WHERE q.id = p.id) AS phone, note, grp FROM people p;
  GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, metabase, ben;
`;

const EMAILS = ["ann@x.de", "Ann@x.de", "ben berg@x.de", "carl", "", null] as const;
const PHONES = ["+49 30 1234", "+49 30 4321", "1234", null] as const;
const NOTES = ["ann@x.de", "b", null] as const;

let server: RunningPostgres;
let database: TestDatabase;
let clear: TestDatabase;
let beside: pg.Client;
let sluice: TestProxy;
beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  [database, clear] = [await databaseOn(server.uri, "reads"), await databaseOn(server.uri, "clear")];
  await Promise.all([database.query(SETUP), clear.query(SETUP)]);
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
  beside = new pg.Client(clear.uri);
  await beside.connect();
  const app = await sluice.connect("helpdesk_app");
  for (const client of [app, beside])
    for (let id = 1; id <= 24; id++) {
      const of = <T>(values: readonly T[], step: number): T => values[(id * step) % values.length] as T;
      await client.query("INSERT INTO people VALUES ($1, $2, $3, $4, $5)", [
        ...[id, of(EMAILS, 1), of(PHONES, 3), of(NOTES, 2), id % 4],
      ]);
      await client.query("INSERT INTO mails VALUES ($1, $2, $3, $4)", [
        id,
        id % 9,
        of(EMAILS, 5),
        of(NOTES, 1),
      ]);
    }
  await app.end();
});
afterAll(async () => {
  await beside?.end();
  await sluice?.close();
  await Promise.all([database?.drop(), clear?.drop()]);
  await server?.stop();
});

const RELATIONS = [
  "people",
  "people",
  "listed",
  "filled",
  "shouted",
  "united",
  "joined",
  "grouped",
  "chosen",
];
const COLUMNS = ["email", "email", "phone", "note"];
const VALUES = ["ann@x.de", "ANN@X.DE", "ben berg@x.de", "carl", "", "+49 30 1234", "1234", "b", "berg"];

/** A condition over a relation with the columns of `people`. */
function condition(draw: Draw, of: string, depth = 0): string {
  const column = `${of}.${draw.of(COLUMNS)}`;
  const value = `'${draw.of(VALUES)}'`;
  const other = `${of}.${draw.of(COLUMNS)}`;
  const deeper = (): string => (depth > 1 ? `${of}.grp > 1` : condition(draw, of, depth + 1));
  switch (draw.below(40)) {
    case 0:
      return `${column} <> ${value}`;
    case 1:
      return `${column} IN (${value}, '${draw.of(VALUES)}')`;
    case 2:
      return `${column} NOT IN (${value})`;
    case 3:
      return `${column} = ANY (ARRAY[${value}, '${draw.of(VALUES)}'])`;
    case 4:
      return `${column} IS ${draw.of(["", "NOT "])}NULL`;
    case 5:
      return `${column} IS ${draw.of(["", "NOT "])}DISTINCT FROM ${value}`;
    case 6:
      return `${column} = ${other}`;
    case 7:
      return `${column} ${draw.of(["LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE", "SIMILAR TO", "~", "~*"])} ${value}`;
    case 8:
      return `${column} ${draw.of(["LIKE", "ILIKE"])} '%${draw.of(VALUES)}${draw.of(["", "%"])}'`;
    case 9:
      return `${column} ${draw.of(["<", ">=", "BETWEEN 'a' AND"])} ${value}`;
    case 10:
      return `coalesce(${column}, 'carl') = ${value}`;
    case 11:
      return `nullif(${column}, ${value}) IS NULL`;
    case 12:
      return `CASE WHEN ${of}.grp > 1 THEN ${column} ELSE ${other} END = ${value}`;
    case 13:
      return `CASE ${column} WHEN ${value} THEN true ELSE ${of}.grp = 1 END`;
    case 14:
      return `${draw.of(["lower", "upper", "trim", "md5", "reverse", "initcap"])}(${column}) = ${value}`;
    case 15:
      return `lower(${column}) = lower(${value})`;
    case 16:
      return `length(${column}) > ${draw.below(9)}`;
    case 17:
      return `${column} || 'x' = ${value} || 'x'`;
    case 18:
      return `${column} IN (SELECT q.${draw.of(COLUMNS)} FROM ${draw.of(RELATIONS)} q WHERE q.grp > 1)`;
    case 19:
      return `EXISTS (SELECT FROM mails m WHERE m.sender = ${column} AND m.person > 2)`;
    case 20:
      return `(${column}, ${of}.grp) = (${value}, 1)`;
    case 21:
      return `${column} = (SELECT ${draw.of(["max", "min"])}(q.${draw.of(COLUMNS)}) FROM people q)`;
    case 22:
      return `${of}::text LIKE '%${draw.of(VALUES)}%'`;
    case 23:
      return `to_jsonb(${of})->>'email' = ${value}`;
    case 24:
      return `right(${column}, 4) = '${draw.of(["1234", "4321", "x.de"])}'`;
    case 25:
      return `strpos(${column}, 'x') > 0`;
    case 26:
      return `${column}::varchar${draw.of(["", "(4)"])} = ${value}`;
    case 27:
      return `${column} COLLATE "C" = ${value}`;
    case 28:
      return `ARRAY[${column}, ${other}] ${draw.of(["@>", "&&"])} ARRAY[${value}]`;
    case 29:
      return `to_tsvector('simple', ${column}) @@ plainto_tsquery('simple', 'berg')`;
    case 30:
      return `NOT (${deeper()})`;
    case 31:
      return `(${deeper()} OR ${deeper()})`;
    case 32:
      return `(${deeper()} AND ${deeper()})`;
    case 33:
      return `greatest(${column}, ${value}) = ${value}`;
    case 34:
      return `${column} = (VALUES (${value}))`;
    case 35:
      return `(ROW(${of}.*)).f2 = ${value}`;
    default:
      return `${column} = ${value}`;
  }
}

function statement(draw: Draw): string {
  const [relation, other] = [draw.of(RELATIONS), draw.of(RELATIONS)];
  const [column, second] = [draw.of(COLUMNS), draw.of(COLUMNS)];
  const where = condition(draw, "p");
  switch (draw.below(18)) {
    case 0:
      return `SELECT count(*)::int, count(DISTINCT p.${column})::int FROM ${relation} p WHERE ${where}`;
    case 1:
      return `SELECT n FROM (SELECT count(*)::int AS n FROM ${relation} p WHERE ${where} GROUP BY p.${column}) s ORDER BY n`;
    case 2:
      return `SELECT count(*)::int FROM (SELECT DISTINCT p.${column}, p.grp FROM ${relation} p WHERE ${where}) s`;
    case 3:
      return `SELECT p.id, q.id FROM ${relation} p JOIN ${other} q ON q.${column} = p.${second} WHERE ${where} ORDER BY 1, 2`;
    case 4:
      return `SELECT p.id, q.id FROM ${relation} p JOIN ${other} q USING (${column}) WHERE ${where} ORDER BY 1, 2`;
    case 5:
      return `SELECT count(*)::int FROM (SELECT ${column} FROM ${relation} ${draw.of(["UNION", "INTERSECT", "EXCEPT", "UNION ALL"])} SELECT ${second} FROM ${other}) s`;
    case 6:
      return `SELECT id, row_number() OVER (PARTITION BY ${column} ORDER BY id)::int FROM ${relation} p WHERE ${where} ORDER BY 1, 2`;
    case 7:
      return `SELECT id FROM ${relation} p WHERE ${where} ORDER BY ${draw.of([`p.${column}`, `lower(p.${column})`, "2 - id"])}, id LIMIT 5`;
    case 8:
      return `WITH x AS (SELECT id, ${column} AS c, grp FROM ${relation} p WHERE ${where}) SELECT id FROM x WHERE c ${draw.of(["=", "<>", ">"])} '${draw.of(VALUES)}' ORDER BY id`;
    case 9:
      return `SELECT id FROM (SELECT id, ${draw.of([column, `coalesce(${column}, '')`, `${column} || ''`, `nullif(${column}, 'b')`])} AS c FROM ${relation}) s WHERE s.c = '${draw.of(VALUES)}' ORDER BY id`;
    case 10:
      return `SELECT p.id, l.n FROM ${relation} p, LATERAL (SELECT count(*)::int AS n FROM mails m WHERE m.sender = p.${column}) l WHERE ${where} ORDER BY 1, 2`;
    case 11:
      return `SELECT p.id FROM ${relation} p JOIN (VALUES ('${draw.of(VALUES)}'), ('${draw.of(VALUES)}')) v(c) ON v.c = p.${column} ORDER BY 1`;
    case 12:
      return `SELECT p.id, p.${column} FROM ${relation} p WHERE ${where} ORDER BY p.id`;
    case 13:
      return `SELECT p.id, ${draw.of([`coalesce(p.${column}, 'none')`, `CASE WHEN p.grp > 1 THEN p.${column} END`, `p.${column} = '${draw.of(VALUES)}'`, `p.${column} IS NULL`])} FROM ${relation} p WHERE ${where} ORDER BY p.id`;
    case 14:
      return `SELECT max(p.${column}) FROM ${relation} p WHERE ${where}`;
    case 15:
      return `SELECT p.id, (SELECT q.${column} FROM ${other} q WHERE q.id = p.id LIMIT 1) FROM ${relation} p WHERE ${where} ORDER BY p.id`;
    case 16:
      return `SELECT count(*) FILTER (WHERE ${where})::int FROM ${relation} p`;
    default:
      return `SELECT p.id FROM ${relation} p WHERE ${where} ORDER BY p.id`;
  }
}

type Answer = readonly unknown[][] | string;

async function answerOf(client: pg.Client, text: string, values: readonly unknown[]): Promise<Answer> {
  try {
    return (await client.query({ text, values: [...values], rowMode: "array" })).rows;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

/** A view may show it in capitals, or only its beginning. */
const isToken = (value: unknown) => /slt/i.test(JSON.stringify(value ?? null));

/** The same but for tokens in place of values. */
function isSame(one: Answer, other: Answer): boolean {
  if (typeof one === "string" || typeof other === "string") return typeof one === "string";
  return (
    one.length === other.length &&
    one.every((row, i) => row.every((value, j) => isToken(value) || value === other[i]?.[j]))
  );
}

/** Its constants as parameters, as a driver sends them. */
function parameterised(text: string): readonly [text: string, values: readonly string[]] {
  const values: string[] = [];
  const withParameters = text.replace(
    / (=|<>|I?LIKE) '([^']*)'(?=[ )]|$)/g,
    (_, symbol: string, value: string) => {
      values.push(value);
      return ` ${symbol} $${values.length}`;
    },
  );
  return [withParameters, values];
}

test.each(["helpdesk_app", "metabase", "ben"])(
  "what %s reads is what a database in the clear answers, or is refused",
  { timeout: TIME },
  async (user) => {
    const client = await sluice.connect(user);
    const counted = { same: 0, refused: 0, faults: 0, tokens: 0 };
    const work = async (choices: readonly number[], isPrepared: boolean): Promise<void> => {
      const made = statement(new Draw(choices));
      const [text, values] = isPrepared ? parameterised(made) : [made, []];
      const [got, wanted] = [await answerOf(client, text, values), await answerOf(beside, text, values)];
      expect(
        isSame(got, wanted),
        `${text} ${values}\n${JSON.stringify(got)}\n${JSON.stringify(wanted)}`,
      ).toBe(true);
      if (typeof got === "string") counted[typeof wanted === "string" ? "faults" : "refused"]++;
      else counted[got.flat().some(isToken) ? "tokens" : "same"]++;
    };
    const choices = fc.array(fc.nat(), { minLength: 12, maxLength: 40 });
    await fc.assert(fc.asyncProperty(choices, fc.boolean(), work), { seed: SEED, numRuns: RUNS / 2 });
    await client.end();
    if (BY_HAND !== undefined) console.log(user, counted);
    expect(counted.same).toBeGreaterThan(RUNS / 10);
    expect(counted.refused).toBeGreaterThan(RUNS / 20);
  },
);
