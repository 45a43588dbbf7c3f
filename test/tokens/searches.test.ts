import pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { Sealer } from "../../proxy/tokens/sealed.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";

/*
 * Searches by blind indexes, beside a table of the same values in the clear: the answers are equal, or the statement is
 * refused.
 */

const SECRETS = new Map([1, 2, 3].map((version) => [version, Buffer.alloc(32, version)] as const));
const ring = (...versions: readonly number[]) => ({
  active: versions.at(-1) ?? 1,
  secrets: new Map([...SECRETS].filter(([version]) => versions.includes(version))),
});

const sealer = new Sealer(ring(1));
const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true, searches: [case] }
  phone: { mask: { last: 2 }, stored: token, searches: [last4] }
  name: { mask: initials, stored: token, searches: [words, last4, case] }
  plain: { mask: redact, stored: token }
tables:
  public.people: { subject: id, columns: { email: email, phone: phone, name: name, note: plain } }
  public.mails: { subject: person, columns: { sender: email } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  watched: { users: [metabase], reads: all, writes: all, sees: all, watch: true }
  lead: { users: [ben], reads: all, writes: all, sees: [email, phone, name, plain] }
  agent: { users: [anna], reads: [public.people], finds: [email, phone, name] }
  clerk: { users: [cleo], reads: [public.people] }
`;

let server: RunningPostgres;
let database: TestDatabase;
let clear: TestDatabase;
let direct: pg.Client;
let sluice: TestProxy;
let app: pg.Client;
let watched: pg.Client;
let lead: pg.Client;
let agent: pg.Client;
let clerk: pg.Client;
/** Those who see the classes. */
let seeing: readonly pg.Client[];

const COLUMNS = "id bigint PRIMARY KEY, email text, phone varchar, name text, note text, city text";

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "searches");
  await database.query(`
    CREATE TABLE people (${COLUMNS});
    CREATE TABLE mails (id bigint PRIMARY KEY, person bigint, sender text);
    GRANT ALL ON people, mails TO helpdesk_app, metabase, anna, ben, cleo;`);
  clear = await databaseOn(server.uri, "clear");
  await clear.query(`
    CREATE TABLE people (${COLUMNS});
    CREATE TABLE mails (id bigint PRIMARY KEY, person bigint, sender text);`);
  direct = new pg.Client(`${clear.uri}`);
  await direct.connect();
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
  [app, watched, lead, agent, clerk] = await Promise.all([
    sluice.connect("helpdesk_app"),
    sluice.connect("metabase"),
    sluice.connect("ben"),
    sluice.connect("anna"),
    sluice.connect("cleo"),
  ]);
  seeing = [app, watched, lead];
  await fill();
});
afterAll(async () => {
  await Promise.all([app, watched, lead, agent, clerk].map((client) => client?.end()));
  await direct?.end();
  await sluice?.close();
  await clear?.drop();
  await database?.drop();
  await server?.stop();
});

const ROWS: readonly (readonly (string | null)[])[] = [
  ["Alice@Example.com", "+49 30 1234", "Anna Berg", "x", "Berlin"],
  ["alice@example.com", "1234", "Johanna", "y", "Berlin"],
  ["ÉLAN@x.org", "99 12", "élan vital", "z", null],
  ["élan@x.org", "12", "O'Neil Anna-Maria", "A%b", "Rome"],
  ["İzmir@x", "", "ANNA  berg", null, "Rome"],
  ["100%_\\sure@x", "12_4", "", "", ""],
  [null, null, null, null, null],
  ["straße@x.de", "ab1234", "Σίσυφος ΟΔΟΣ", "ſ", "x"],
];

async function fill(): Promise<void> {
  await database.query("TRUNCATE people, mails");
  await direct.query("TRUNCATE people, mails");
  for (const client of [app, direct]) {
    for (const [index, row] of ROWS.entries())
      await client.query("INSERT INTO people VALUES ($1, $2, $3, $4, $5, $6)", [index + 1, ...row]);
    await client.query(
      "INSERT INTO mails VALUES (1, 1, 'ALICE@example.com'), (2, 3, 'élan@X.org'), (3, 4, NULL)",
    );
  }
}

const idsOf = async (client: pg.Client, text: string, values?: unknown[]) =>
  (await client.query({ text, ...(values && { values }), rowMode: "array" })).rows
    .map(([id]) => Number(id))
    .toSorted();

const CONDITIONS: readonly [string, unknown[]?][] = [
  ["lower(email) = lower($1)", ["ALICE@example.COM"]],
  ["lower(email) = $1", ["alice@example.com"]],
  ["lower(email) = $1", ["Alice@example.com"]],
  ["lower(email) = 'élan@x.org'"],
  ["LOWER(email) = lower('ÉLAN@x.org')"],
  ["pg_catalog.lower(email::text) = lower('ÉLAN@x.org')::text"],
  ["lower((people.email)) = (lower(($1)))", ["ÉLAN@x.org"]],
  ["lower(email) <> lower($1)", ["ALICE@example.COM"]],
  ["NOT lower(email) = lower($1)", ["ALICE@example.COM"]],
  ["lower(email) IN ('alice@example.com', lower('ÉLAN@X.org'), $1)", ["İzmir@x"]],
  ["lower(email) IN ('alice@example.com', lower('ÉLAN@X.org'), lower($1))", ["İzmir@x"]],
  ["lower(email) NOT IN ('alice@example.com', lower($1))", ["İzmir@x"]],
  ["lower(email) = ANY($1)", [["alice@example.com", "Élan@x.org", null]]],
  ["lower(email) <> ALL($1)", [["alice@example.com", "Élan@x.org"]]],
  ["lower(email) = ANY('{alice@example.com,x}')"],
  ["lower(email) = ANY(ARRAY['alice@example.com', lower($1)])", ["STRASSE@x.de"]],
  ["lower(email) = $1", [null]],
  ["lower(email) = NULL"],
  ["email ILIKE $1", ["alice@EXAMPLE.com"]],
  ["email ILIKE 'alice@EXAMPLE.com'"],
  ["email ILIKE ('alice@EXAMPLE.com') AND id > 0"],
  ["email NOT ILIKE 'alice@EXAMPLE.com'"],
  ["NOT (email ILIKE $1)", ["alice@EXAMPLE.com"]],
  ["email ~~* $1", ["100\\%\\_\\\\SURE@x"]],
  ["email !~~* $1", ["100\\%\\_\\\\SURE@x"]],
  ["email ILIKE '100\\%\\_\\\\SURE@x' ESCAPE '\\'"],
  ["email ILIKE $1 ESCAPE '\\' OR id = 3", ["100\\%\\_\\\\SURE@x"]],
  ["email ILIKE $1", [null]],
  ["email ILIKE NULL"],
  ["email NOT ILIKE $1", [null]],
  ["right(phone, 4) = $1", ["1234"]],
  ["right(phone, 4) = '1234'"],
  ["right(phone, 4) = '12'"],
  ["right(phone, 4) = ''"],
  ["right(phone, 4) = '01234'"],
  ["right(phone::text, 4) = right('555 1234', 4)"],
  ["right(phone, 4) = right($1, 4)", ["555 1234"]],
  ["right(phone, 4) IN ('1234', $1)", ["9 12"]],
  ["right(phone, 4) <> '1234'"],
  ["phone LIKE '%1234'"],
  ["phone LIKE $1", ["%1234"]],
  ["phone LIKE $1", ["%%12\\_4"]],
  ["phone NOT LIKE $1", ["%1234"]],
  ["phone ILIKE '%1234'"],
  ["phone ILIKE $1", ["%1234"]],
  ["name ILIKE $1", ["anna berg"]],
  ["name ILIKE $1", ["%1234"]],
  ["lower(name) = 'anna berg'"],
  ["lower(name) = lower('σίσυφος οδοσ')"],
  ["right(name, 4) = 'Berg'"],
  ["email = $1 OR lower(email) = lower($1) OR name ILIKE $2", ["alice@example.com", "johanna"]],
  ["email = $1 OR lower(email) = lower($1) OR name ILIKE $1 OR phone = $1", ["johanna"]],
  ["(lower(email) = $1 OR city = 'Rome') AND id < 6", ["alice@example.com"]],
  ["EXISTS (SELECT FROM mails m WHERE lower(m.sender) = lower(people.email))"],
  ["id IN (SELECT p.id FROM people p JOIN mails m ON lower(p.email) = lower(m.sender))"],
  [
    "id IN (SELECT p.id FROM people p JOIN mails m ON lower(m.sender) = $1 AND m.person = p.id)",
    ["élan@x.org"],
  ],
  ["id = (WITH w AS (SELECT id FROM people WHERE lower(email) = $1) SELECT max(id) FROM w)", ["straße@x.de"]],
  [
    "id IN (WITH w AS (SELECT id AS i, email AS e FROM people) SELECT i FROM w WHERE lower(e) = $1)",
    ["straße@x.de"],
  ],
  ["(lower(email) = 'alice@example.com') IS NOT TRUE"],
  ["(email ILIKE $1) IS NULL", ["x"]],
  ["coalesce(lower(email) = 'alice@example.com', true)"],
  ["CASE WHEN lower(email) = $1 THEN true ELSE city = 'Rome' END", ["alice@example.com"]],
  ["lower(email) IS DISTINCT FROM $1", ["alice@example.com"]],
  ["lower(email) IS NOT DISTINCT FROM $1", [null]],
  ["$1 = lower(email)", ["alice@example.com"]],
  ["lower('ALICE@example.com') = lower(email)"],
];

test.each(CONDITIONS)(
  "where %s (%j), the answer is that of a table in the clear",
  async (condition, values) => {
    const text = `SELECT id FROM people WHERE ${condition}`;
    const expected = await idsOf(direct, text, values);
    for (const client of seeing) expect(await idsOf(client, text, values)).toEqual(expected);
  },
);
