import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";

import postgres from "postgres";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { Sealer } from "../../proxy/tokens/sealed.ts";
import { createRoles, databaseOn, psql, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { since } from "../harness/postgres-versions.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { ring } from "../harness/token-keys.ts";

/*
 * Searches by blind indexes, beside a table of the same values in the clear: the answers are equal, or the statement is
 * refused.
 */

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
    GRANT ALL ON people, mails TO helpdesk_app, metabase, anna, ben, cleo;
    ALTER TABLE people OWNER TO helpdesk_app; GRANT CREATE ON SCHEMA public TO helpdesk_app;`);
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

/** Whole words are what tokens can be searched by, where ILIKE finds parts of words: the model of that. */
const WORDS: readonly [string, unknown[] | undefined, number[]][] = [
  ["name ILIKE '%anna%'", undefined, [1, 4, 5]],
  ["name ILIKE $1", ["%ANNA%"], [1, 4, 5]],
  ["name ILIKE $1", ["%berg anna%"], [1, 5]],
  ["name ILIKE '%%anna-maria%'", undefined, [4]],
  ["name ILIKE '%élan%'", undefined, [3]],
  ["name ILIKE $1", ["%e\u0301lan%"], [3]],
  ["name NOT ILIKE '%anna%'", undefined, [2, 3, 6, 8]],
  ["NOT (name ILIKE $1) OR id = 1", ["%anna%"], [1, 2, 3, 6, 8]],
  ["name ILIKE '%johann%'", undefined, []],
  ["to_tsvector('simple', name) @@ plainto_tsquery('simple', $1)", ["Anna Berg"], [1, 5]],
  ["to_tsvector('simple'::regconfig, name) @@ plainto_tsquery('simple', 'o''neil')", undefined, [4]],
  ["pg_catalog.to_tsvector('pg_catalog.simple', name::text) @@ plainto_tsquery('simple', $1)", [null], []],
  [
    "name = $1 OR name ILIKE $1 OR to_tsvector('simple', name) @@ plainto_tsquery('simple', $1)",
    ["%anna%"],
    [1, 4, 5],
  ],
];

test.each(WORDS)("%s (%j) finds whole words", async (condition, values, expected) => {
  for (const client of seeing)
    expect(await idsOf(client, `SELECT id FROM people WHERE ${condition}`, values)).toEqual(expected);
});

const HINT =
  /"searches:" of class "(?:email|phone|name|plain)"|docs\/tokens\.md|^Compute the value|^Send it twice/;
const REFUSED: readonly [string, unknown[]?][] = [
  ["lower(note) = 'x'"],
  ["note ILIKE 'x'"],
  ["note LIKE '%1234'"],
  ["lower(phone) = '1234'"],
  ["upper(email) = upper($1)", ["x"]],
  ["lower(email) LIKE 'a%'"],
  ["lower(email) < 'x'"],
  ["lower(email) || 'x' = 'x'"],
  ["lower(email || 'x') = 'x'"],
  ["lower(lower(email)) = 'x'"],
  ["lower(email) = lower(city)"],
  ["lower(email) = city"],
  ["lower(email) = email"],
  ["lower(email) = right(name, 4)"],
  ["lower(email) = lower(name)"],
  ["lower(email) = btrim($1)", ["x"]],
  ["lower(email) = lower(lower($1))", ["x"]],
  ["lower(email) COLLATE \"C\" = 'x'"],
  ["lower(email) IN (SELECT lower(sender) FROM mails)"],
  ["(lower(email), id) = ('x', 1)"],
  ["lower(email) ~ 'x'"],
  ["right(phone, 3) = '234'"],
  ["right(phone, -4) = '1234'"],
  ["left(phone, 4) = '1234'"],
  ["right(phone, 4) > '1234'"],
  ["phone LIKE '%234'"],
  ["phone LIKE '%12_4'"],
  ["phone LIKE '1234'"],
  ["phone LIKE '%12345'"],
  ["phone LIKE '%1234%'"],
  ["phone LIKE $1", ["%123%"]],
  ["phone LIKE $1", ["%123\\"]],
  ["phone LIKE '%1234' ESCAPE '#'"],
  ["phone SIMILAR TO '%1234'"],
  ["phone ILIKE '%12ab'"],
  ["phone ILIKE '12ab'"],
  ["phone ILIKE $1", ["%12ab"]],
  ["email ILIKE 'a%'"],
  ["email ILIKE $1", ["a_"]],
  ["email ILIKE $1", ["%a%"]],
  ["email ILIKE lower($1)", ["a"]],
  ["email ILIKE city"],
  ["email ILIKE ANY($1)", [["a"]]],
  ["email ILIKE 'x' ESCAPE '#'"],
  ["name ILIKE $1", ["%"]],
  ["name ILIKE $1", ["%%"]],
  ["name ILIKE $1", ["%.%"]],
  ["name ILIKE $1", ["%an_a%"]],
  ["name ILIKE $1", ["%an%na%"]],
  ["name ILIKE '%anna'"],
  ["name LIKE '%Anna%'"],
  ["name LIKE $1", ["%Anna%"]],
  ["to_tsvector('english', name) @@ plainto_tsquery('simple', 'x')"],
  ["to_tsvector('simple', name) @@ plainto_tsquery('english', 'x')"],
  ["to_tsvector(name) @@ plainto_tsquery('simple', 'x')"],
  ["to_tsvector('simple', name) @@ to_tsquery('simple', 'x')"],
  ["to_tsvector('simple', name) @@ plainto_tsquery('simple', $1)", ["..."]],
  ["name @@ plainto_tsquery('simple', 'x')"],
  ["city = $1 OR lower(email) = $1", ["x"]],
  ["split_part(email, '.', 2) = 'x'"],
  ["nullif(lower(email), 'x') IS NULL"],
];

test.each(REFUSED)("%s (%j) is refused, and the key of the policy is named", async (condition, values) => {
  for (const client of seeing) {
    const failed = await idsOf(client, `SELECT id FROM people WHERE ${condition}`, values).catch(
      (error: unknown) => error as pg.DatabaseError,
    );
    expect(failed).toMatchObject({ code: expect.stringMatching(/^(?:42501|0A000)$/) });
    expect((failed as pg.DatabaseError).hint).toMatch(HINT);
  }
});

test.each([
  "SELECT lower(email) FROM people",
  "SELECT id FROM people ORDER BY lower(email)",
  "SELECT count(*) FROM people GROUP BY lower(email)",
  "SELECT DISTINCT right(phone, 4) FROM people",
  "SELECT lower(email) AS e, count(*) FROM people GROUP BY 1",
  "SELECT max(right(phone, 4)) FROM people",
  "SELECT CASE lower(email) WHEN 'x' THEN 1 END FROM people",
  "SELECT nullif(lower(email), 'x') FROM people",
  "SELECT lower(email) FROM people UNION SELECT lower(sender) FROM mails",
  "UPDATE people SET city = lower(email)",
  "UPDATE people SET email = lower(email)",
  "INSERT INTO people (id, email) VALUES (99, lower('X'))",
])("%s is refused", async (text) => {
  for (const client of seeing) await expect(client.query(text)).rejects.toMatchObject({ code: "42501" });
});

test("indexes on the parts of tokens are made through the proxy, and others are refused with the right ones", async () => {
  const superuser = await sluice.connect("helpdesk_app");
  onTestFinished(() => superuser.end());
  for (const text of [
    "CREATE INDEX people_case ON people (pg_catalog.split_part(email, '.', 2))",
    "CREATE INDEX people_last ON people (split_part(phone, '.', 3))",
    "CREATE INDEX people_words ON people USING gin (string_to_array(split_part(name, '.', 4), ':'))",
    "CREATE INDEX people_there ON people (id) WHERE email IS NOT NULL",
  ])
    await superuser.query(text);
  for (const [text, hint] of [
    [
      "CREATE INDEX ON people (lower(email))",
      /CREATE INDEX ON "public"\."people" \(pg_catalog\.split_part\("email", '\.', 2\)\)/,
    ],
    ["CREATE UNIQUE INDEX ON public.people (lower(email::text))", /split_part\("email"/],
    [
      "CREATE INDEX ON people USING gin (to_tsvector('simple', name))",
      /USING gin \(pg_catalog\.string_to_array/,
    ],
    ["CREATE INDEX ON people (split_part(email, '.', 3))", /split_part\("email", '\.', 2\)/],
    ["CREATE INDEX ON people (split_part(note, '.', 2))", /"searches:" of class "plain"/],
    ["CREATE INDEX ON people (id) WHERE lower(email) = 'x'", /split_part/],
    ["CREATE INDEX ON people (lower(city), (name || ''))", /split_part\("name"/],
  ] as const)
    await expect(superuser.query(text)).rejects.toMatchObject({
      code: "42501",
      hint: expect.stringMatching(hint),
    });
});

test("the planner uses these indexes", async () => {
  await app.query(
    "INSERT INTO people (id, email, phone, name) SELECT 100 + i, NULL, NULL, NULL FROM generate_series(1, 2) i",
  );
  const sql = postgres(sluice.uri("helpdesk_app"), { max: 1 });
  onTestFinished(() => sql.end());
  const rows = Array.from({ length: 10_000 }, (_, i) => ({
    id: 1_000 + i,
    email: `Person${i}@Example.com`,
    phone: `+49 30 ${100_000 + i}`,
    name: `Anna${i % 500} Berg${i} Muster`,
  }));
  for (let at = 0; at < rows.length; at += 1_000)
    await sql`INSERT INTO people ${sql(rows.slice(at, at + 1_000), "id", "email", "phone", "name")}`;
  await database.query("VACUUM (ANALYZE) people");
  for (const setting of ["off", "on"]) {
    await app.query(`SET enable_seqscan = ${setting}`);
    for (const [index, condition, values] of [
      ["people_case", "lower(email) = lower($1)", ["PERSON77@example.com"]],
      ["people_case", "email ILIKE $1", ["PERSON77@example.com"]],
      ["people_case", "lower(email) IN ('person77@example.com', 'person78@example.com')", []],
      ["people_case", "lower(email) = ANY($1)", [["person77@example.com"]]],
      ["people_last", "right(phone, 4) = $1", ["0077"]],
      ["people_last", "phone LIKE '%0077'", []],
      ["people_words", "name ILIKE '%berg77%'", []],
      ["people_words", "to_tsvector('simple', name) @@ plainto_tsquery('simple', $1)", ["anna77 berg577"]],
    ] as const) {
      const plan = await app.query({
        text: `EXPLAIN SELECT id FROM people WHERE ${condition}`,
        values: [...values],
        rowMode: "array",
      });
      expect(plan.rows.flat().join("\n")).toContain(index);
      const found = await idsOf(app, `SELECT id FROM people WHERE ${condition}`, [...values]);
      expect(found[0]).toBe(
        condition.includes("anna77") || values[0]?.toString().includes("anna77") ? 1_577 : 1_077,
      );
    }
  }
  await database.query("DELETE FROM people WHERE id >= 100");
  await app.query("RESET enable_seqscan");
});

test("agents find by a value without regard to case where they may, and by nothing less exact", async () => {
  for (const [condition, values] of [
    ["lower(email) = lower($1)", ["ALICE@example.com"]],
    ["lower(email) = 'alice@example.com'", []],
    ["email ILIKE $1", ["ALICE@example.com"]],
    ["email ILIKE 'ALICE@example.com'", []],
    ["lower(email) IN ('alice@example.com', $1)", ["x"]],
    ["lower(email) = ANY($1)", [["alice@example.com", "x"]]],
  ] as const) {
    const { rows } = await agent.query(`SELECT id, email FROM people WHERE ${condition} ORDER BY id`, [
      ...values,
    ]);
    expect(rows.map(({ id, email }) => [id, email])).toEqual([
      ["1", "A***@Example.com"],
      ["2", "a***@example.com"],
    ]);
    await expect
      .poll(() => sluice.statements().flatMap(({ lookups }) => lookups ?? []), { message: condition })
      .not.toEqual([]);
  }
  for (const [condition, values] of [
    ["right(phone, 4) = $1", ["1234"]],
    ["right(phone, 4) = '1234'", []],
    ["phone LIKE '%1234'", []],
    ["phone LIKE $1", ["%1234"]],
    ["phone ILIKE $1", ["%1234"]],
    ["name ILIKE '%anna%'", []],
    ["name ILIKE $1", ["%anna%"]],
    ["to_tsvector('simple', name) @@ plainto_tsquery('simple', $1)", ["anna"]],
    ["lower(email) <> 'alice@example.com'", []],
    ["NOT lower(email) = 'alice@example.com'", []],
    ["email NOT ILIKE 'alice@example.com'", []],
    ["id = (SELECT max(p.id) FROM people p WHERE right(p.phone, 4) = '1234')", []],
  ] as const)
    await expect(agent.query(`SELECT id FROM people WHERE ${condition}`, [...values])).rejects.toMatchObject({
      code: "42501",
    });
  for (const text of [
    "SELECT lower(email) = 'alice@example.com' FROM people",
    "SELECT count(*) FILTER (WHERE lower(email) = 'alice@example.com') FROM people",
    "SELECT id FROM people ORDER BY lower(email) = 'alice@example.com'",
    "SELECT a.id FROM people a JOIN people b ON lower(a.email) = lower(b.email)",
  ])
    await expect(agent.query(text)).rejects.toMatchObject({ code: "42501" });
  for (const condition of [
    "lower(email) = 'alice@example.com'",
    "email ILIKE 'x'",
    "right(phone, 4) = '1234'",
  ])
    await expect(clerk.query(`SELECT id FROM people WHERE ${condition}`)).rejects.toMatchObject({
      code: "42501",
    });
});

test("who reads a class of few people only searches it by the whole value", async () => {
  sluice.setPolicy(
    POLICY.replace(
      "users: [cleo], reads: [public.people]",
      "users: [cleo], reads: [public.people], sees: [email, phone, name], reveals: { phone: { 1d: 5 } }",
    ),
  );
  onTestFinished(() => sluice.setPolicy(POLICY));
  const caller = await sluice.connect("cleo");
  onTestFinished(() => caller.end());
  expect(await idsOf(caller, "SELECT id FROM people WHERE name ILIKE '%anna%'")).toEqual([1, 4, 5]);
  expect(await idsOf(caller, "SELECT id FROM people WHERE phone = '1234'")).toEqual([2]);
  for (const condition of ["right(phone, 4) = '1234'", "phone LIKE '%1234'", "id = 1 AND phone LIKE '%1235'"])
    await expect(caller.query(`SELECT id FROM people WHERE ${condition}`)).rejects.toMatchObject({
      code: "42501",
      hint: expect.stringContaining("reveals"),
    });
});

test("a verdict for one text does not hold for another number, character or configuration", async () => {
  for (const [good, bad] of [
    ["right(phone, 4) = '1234'", "right(phone, 3) = '234'"],
    ["email ILIKE 'x' ESCAPE '\\'", "email ILIKE 'x' ESCAPE '#'"],
    [
      "to_tsvector('simple', name) @@ plainto_tsquery('simple', 'x')",
      "to_tsvector('english', name) @@ plainto_tsquery('simple', 'x')",
    ],
    ["name ILIKE '%anna%'", "name ILIKE 'anna%'"],
    ["phone LIKE '%1234'", "phone LIKE '%123'"],
    ["right(phone, 4) = right('1234', 4)", "right(phone, 4) = right('1234', 5)"],
  ] as const)
    for (const client of seeing) {
      await client.query(`SELECT id FROM people WHERE ${good}`);
      await expect(client.query(`SELECT id FROM people WHERE ${bad}`)).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:42501|0A000)$/),
      });
    }
  await agent.query("SELECT id FROM people WHERE email ILIKE 'x'");
  for (const other of ["%x%", "%1234", "x%"])
    await expect(agent.query(`SELECT id FROM people WHERE name ILIKE '${other}'`)).rejects.toMatchObject({
      code: "42501",
    });
});

test("searches work in every statement, and a function of the same name is not taken for Postgres's own", async () => {
  const writer = await sluice.connect("helpdesk_app");
  onTestFinished(() => writer.end());
  const both = async (text: string) =>
    [await writer.query(text), await direct.query(text)].map(({ rowCount }) => rowCount);
  await both("BEGIN");
  for (const text of [
    "UPDATE people SET city = 'a' WHERE lower(email) = 'alice@example.com' RETURNING email",
    "UPDATE people SET email = 'new@x' WHERE name ILIKE '%johanna%'",
    "UPDATE people SET city = 'b' FROM mails m WHERE lower(m.sender) = lower(people.email)",
    "DELETE FROM mails USING people p WHERE lower(mails.sender) = lower(p.email) AND p.phone LIKE '%1234'",
    "DELETE FROM people WHERE right(phone, 4) IN ('1234')",
    "MERGE INTO people p USING mails m ON lower(p.email) = lower(m.sender) AND p.name ILIKE '%vital%' WHEN MATCHED AND lower(p.email) = 'élan@x.org' THEN UPDATE SET city = 'c' WHEN NOT MATCHED THEN DO NOTHING",
    "INSERT INTO people (id, email) SELECT 50, email FROM people WHERE lower(email) = 'élan@x.org' LIMIT 1",
    "INSERT INTO people (id, email) VALUES (50, 'y') ON CONFLICT (id) DO UPDATE SET city = 'd' WHERE lower(people.email) = 'élan@x.org'",
    "SELECT 1 FROM people GROUP BY lower(email) = 'x' HAVING bool_or(name ILIKE '%anna%') IS NOT TRUE",
    "SELECT DISTINCT lower(email) = 'x' AS is FROM people ORDER BY 1",
    "DECLARE found CURSOR FOR SELECT id FROM people WHERE lower(name) = 'anna  berg'",
    "FETCH ALL FROM found",
    "PREPARE found AS SELECT id FROM people WHERE lower(name) = 'anna  berg'",
    "EXECUTE found",
    "SELECT a.id FROM people a JOIN people b ON lower(a.email) = lower(b.email) LEFT JOIN mails m ON lower(m.sender) = lower(b.email) AND lower(m.sender) <> 'x'",
    "SELECT 1 FROM people a FULL JOIN mails m ON lower(m.sender) = lower(a.email)",
    "WITH RECURSIVE r AS (SELECT id, email FROM people WHERE lower(email) = 'élan@x.org' UNION ALL SELECT p.id, p.email FROM people p JOIN r ON p.id = r.id + 1) SELECT id FROM r WHERE email ILIKE 'élan@x.org'",
    "SELECT x.id FROM people, LATERAL (SELECT p.id FROM people p WHERE lower(p.email) = lower(people.email)) x",
    "WITH gone AS (DELETE FROM people WHERE lower(email) = lower('ÉLAN@x.org') RETURNING id, email) SELECT * FROM gone",
  ]) {
    const [ours, theirs] = await both(text);
    expect([text, ours]).toEqual([text, theirs]);
  }
  await both("ROLLBACK");
  const { stdout } = await psql(
    ["-qAt", "-c", "COPY (SELECT id, email FROM people WHERE name ILIKE '%johanna%') TO STDOUT"],
    {
      uri: sluice.uri("helpdesk_app"),
    },
  );
  expect(stdout).toBe("2\talice@example.com\n");

  await database.query(
    "CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT ''x''::text'",
  );
  onTestFinished(async () => {
    await database.query("DROP FUNCTION public.lower(varchar)");
    await (await sluice.catalogs.of(database.database)).refresh();
  });
  await (await sluice.catalogs.of(database.database)).refresh();
  for (const client of seeing)
    await expect(client.query("SELECT id FROM people WHERE lower(email) = 'x'")).rejects.toMatchObject({
      code: "42501",
    });
  expect(await idsOf(app, "SELECT id FROM people WHERE email ILIKE 'alice@example.com'")).toEqual([1, 2]);
});

test("declared types, names of statements and a pool of connections change nothing", async () => {
  for (const client of seeing) {
    const search = (value: string) => ({
      name: "named",
      text: "SELECT id FROM people WHERE email ILIKE $1 OR lower(name) = lower($1::varchar) OR phone LIKE $1",
      values: [value],
    });
    expect(await client.query(search("%1234")).catch((error: unknown) => error)).toMatchObject({
      code: "42501",
    });
    const other = {
      ...search("anna berg"),
      name: "other",
      text: search("").text.replace(" OR phone LIKE $1", ""),
    };
    expect((await client.query(other)).rows).toEqual([{ id: "1" }]);
    expect((await client.query({ ...other, values: ["ALICE@example.com"] })).rows).toHaveLength(2);
    expect((await client.query({ ...other, values: [null] })).rows).toEqual([]);
  }
  const pooled = await startProxy(database, { policy: POLICY, tokens: sealer, pool: { size: 1 } });
  onTestFinished(() => pooled.close());
  const clients = await Promise.all(["helpdesk_app", "helpdesk_app"].map((user) => pooled.connect(user)));
  onTestFinished(async () => {
    await Promise.all(clients.map((client) => client.end()));
  });
  for (const value of ["ALICE@example.com", "élan@X.org"])
    for (const client of clients)
      expect(
        (
          await client.query({
            name: "pooled",
            text: "SELECT id FROM people WHERE lower(email) = lower($1)",
            values: [value],
          })
        ).rows.length,
      ).toBe(2);
});

test("what COPY brings in is found, and no file of the server holds it in the clear", async () => {
  const marked = "Quokkabrunn Zephyrine 7743";
  await database.query("CHECKPOINT");
  const input = `COPY people (id, name, email, phone) FROM STDIN;\n70\t${marked}\t${marked}@x\t${marked}\n\\.\n`;
  expect((await psql(["-q"], { uri: sluice.uri("helpdesk_app"), input })).stderr).toBe("");
  for (const condition of [
    "name ILIKE '%zephyrine%'",
    "lower(email) = 'quokkabrunn zephyrine 7743@x'",
    "right(phone, 4) = '7743'",
  ])
    expect(await idsOf(app, `SELECT id FROM people WHERE ${condition}`)).toEqual([70]);
  await database.query("CHECKPOINT");
  const { rows } = await database.query<{ data_directory: string }>("SHOW data_directory");
  const folder = rows[0]?.data_directory ?? "";
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => join(folder, name));
  const holding = files.filter((file) => {
    if (!statSync(file).isFile()) return false;
    const bytes = readFileSync(file, "latin1").toLowerCase();
    return bytes.includes("zephyrine") || bytes.includes("quokkabrunn");
  });
  expect(holding).toEqual([]);
  await app.query("DELETE FROM people WHERE id = 70");
});

test.each([
  "SELECT to_jsonb(p) FROM people p",
  "SELECT p FROM people p",
  "SELECT p::text FROM people p",
  "SELECT array_agg(name) FROM people",
  "SELECT x.p FROM (SELECT p FROM people p) x",
  "SELECT coalesce(name, 'x') FROM people",
])("an agent who does not see a class gets no token with its hashes: %s", async (text) => {
  await expect(agent.query(text)).rejects.toMatchObject({ code: "42501", hint: expect.stringMatching(/./) });
});

test.each([
  "to_jsonb(people)->>'email' = 'alice@example.com'",
  "row_to_json(people)->>'email' LIKE 'alice%'",
  'to_jsonb(people) @> \'{"email": "alice@example.com"}\'',
  "people::text LIKE '%alice%'",
  "format('%s', people) LIKE '%alice%'",
  "jsonb_path_exists(to_jsonb(people), '$.email ? (@ == \"x\")')",
  "EXISTS (SELECT 1 FROM (SELECT people AS r) s WHERE s.r::text LIKE '%alice%')",
])("a search in a whole row is refused, and does not find nothing: %s", async (condition) => {
  for (const client of seeing)
    await expect(client.query(`SELECT id FROM people WHERE ${condition}`)).rejects.toMatchObject({
      code: "42501",
    });
});

test("a field of a row is the column", async () => {
  const text = "SELECT (people).email AS email FROM people WHERE (people).email = 'alice@example.com'";
  const same =
    "SELECT (p).name AS email FROM people p WHERE lower((p).email) = 'alice@example.com' ORDER BY id";
  for (const client of seeing) {
    expect((await client.query(text)).rows).toEqual((await direct.query(text)).rows);
    const { rows } = await client.query(same).catch(() => ({ rows: undefined }));
    expect(rows ?? (await direct.query(same)).rows).toEqual((await direct.query(same)).rows);
  }
});

test("a role with a row filter, or that sees the column masked, learns nothing by another way to write a search", async () => {
  sluice.setPolicy(
    POLICY.replace(
      "users: [cleo], reads: [public.people]",
      `users: [cleo], reads: [public.people], sees: [email, name], only: { public.people: "city = 'Rome'" }`,
    ),
  );
  onTestFinished(() => sluice.setPolicy(POLICY));
  const filtered = await sluice.connect("cleo");
  onTestFinished(() => filtered.end());
  for (const [condition, ids] of [
    ["lower(email) = 'élan@x.org'", [4]],
    ["email ILIKE 'alice@example.com'", []],
    ["name ILIKE '%anna%'", [4, 5]],
    ["name NOT ILIKE '%berg%'", [4]],
  ] as const)
    expect(await idsOf(filtered, `SELECT id FROM people WHERE ${condition}`)).toEqual(ids);
  for (const text of [
    "SELECT id FROM (SELECT id, email AS e FROM people) s WHERE lower(e) = 'x'",
    "WITH w AS (SELECT id, email FROM people) SELECT id FROM w WHERE email ILIKE 'x'",
    "SELECT CASE WHEN lower(email) = 'x' THEN 1 END FROM people",
    "SELECT id FROM people GROUP BY id HAVING bool_or(lower(email) = 'x')",
    "SELECT id, row_number() OVER (ORDER BY lower(email) = 'x') FROM people",
    "SELECT p.id FROM people p LEFT JOIN people q ON lower(q.email) = 'x'",
    "SELECT id FROM people WHERE (lower(email) = 'x') IS NULL",
    "SELECT id FROM people WHERE split_part(email, '.', 2) = 'x'",
    "SELECT id FROM people WHERE lower(email) = ANY (SELECT lower(sender) FROM mails)",
  ]) {
    const answer = await agent.query(text).then(
      ({ rows }) => rows,
      (error: pg.DatabaseError) => error.code,
    );
    expect([text, answer]).toEqual([text, "42501"]);
  }
});

/** Each puts the address into JSON or XML. */
const BUILT: readonly string[] = [
  "json_build_array(email)",
  "xmlelement(name a, email)",
  "xmlforest(email AS e)",
  "xmlelement(name a, xmlattributes(email AS e))",
  "xmlserialize(content xmlforest(email) AS text)",
  "xmlparse(content email)",
  ...(since(16) ? ["JSON_OBJECT('a': email)", "JSON_ARRAY(1, email)"] : []),
  ...(since(17) ? ["JSON_SCALAR(email)", "JSON_SERIALIZE(JSON_SCALAR(email))"] : []),
];

test.each(BUILT)(
  "JSON and XML with a token are shown to those who see the class, and not searched: %s",
  async (made) => {
    const { rows } = await app.query(`SELECT ${made} AS made FROM people WHERE id = 1`);
    expect(JSON.stringify(rows)).toContain("slt1_");
    const texts = [
      `SELECT id FROM people WHERE (${made})::text LIKE '%alice%'`,
      `SELECT id FROM people ORDER BY (${made})::text`,
    ];
    for (const text of [`SELECT ${made} FROM people WHERE id = 1`, ...texts])
      await expect(agent.query(text)).rejects.toMatchObject({ code: "42501" });
    for (const text of texts) await expect(app.query(text)).rejects.toMatchObject({ code: "42501" });
  },
);

test("what reads JSON or XML finds no values in tokens, and is refused", async () => {
  const over = (table: string) => `SELECT a FROM people, ${table} WHERE id = 1 AND a = 'alice@example.com'`;
  for (const text of [
    over("XMLTABLE('//a' PASSING xmlelement(name a, email) COLUMNS a text PATH '.')"),
    over("XMLTABLE('//a' PASSING xmlelement(name a, 'x') COLUMNS a text PATH 'b' DEFAULT email)"),
    "SELECT id FROM people WHERE xmlexists('//a' PASSING xmlelement(name a, email))",
    ...(since(17)
      ? [
          over("JSON_TABLE(to_jsonb(email), '$' COLUMNS (a text PATH '$'))"),
          over("JSON_TABLE('{}'::jsonb, '$' PASSING email AS e COLUMNS (a text PATH '$e'))"),
          "SELECT id FROM people WHERE JSON_EXISTS(to_jsonb(email), '$ ? (@ == \"alice@example.com\")')",
          "SELECT JSON_VALUE('{}'::jsonb, '$e' PASSING email AS e) FROM people",
        ]
      : []),
  ])
    for (const client of [app, agent])
      await expect(client.query(text)).rejects.toMatchObject({ code: "42501" });
});

test("white space beyond ASCII is a part of an array's value", async () => {
  await app.query("UPDATE people SET email = $1 WHERE id = 1", ["\u00a0x@y.de"]);
  await direct.query("UPDATE people SET email = $1 WHERE id = 1", ["\u00a0x@y.de"]);
  onTestFinished(async () => {
    for (const client of [app, direct])
      await client.query("UPDATE people SET email = $1 WHERE id = 1", [ROWS[0]?.[0]]);
  });
  for (const list of [
    "{\u00a0x@y.de}",
    "{ x@y.de\u00a0}",
    "{\t\u00a0x@y.de }",
    "{x@y.de}",
    "{\\ x@y.de}",
    "{}",
    "{ }",
  ])
    for (const condition of ["email = ANY ($1)", "lower(email) = ANY ($1)", "email <> ALL ($1)"]) {
      const text = `SELECT id FROM people WHERE ${condition}`;
      expect([list, condition, await idsOf(app, text, [list])]).toEqual([
        list,
        condition,
        await idsOf(direct, text, [list]),
      ]);
    }
});
