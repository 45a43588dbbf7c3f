import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { tokensColumn } from "../../proxy/commands/tokens-column.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { parseTokenRing } from "../../proxy/keys/token-keys.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { Sealer } from "../../proxy/tokens/sealed.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { ring, ringText } from "../harness/token-keys.ts";

const sealer = new Sealer(ring(1));
const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true }
  mail: { mask: email, stored: email }
  tel: { mask: { last: 2 }, stored: phone }
tables:
  public.people: { subject: id, columns: { email: email, mail: mail, tel: tel } }
  public.mails: { subject: person, columns: { sender: email } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  watched: { users: [metabase], reads: all, writes: all, sees: all, watch: true }
  agent: { users: [anna], reads: [public.people], finds: [email, mail] }
`;

let server: RunningPostgres;
let database: TestDatabase;
let sluice: TestProxy;
let app: pg.Client;
let watched: pg.Client;
let agent: pg.Client;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "rotation");
  await database.query(`
    CREATE TABLE people (id bigint PRIMARY KEY, email text UNIQUE, mail varchar(200), tel text, note text);
    CREATE TABLE mails (id bigint PRIMARY KEY, person bigint, sender text);
    GRANT ALL ON people, mails TO helpdesk_app, metabase, anna;`);
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
  [app, watched, agent] = await Promise.all([
    sluice.connect("helpdesk_app"),
    sluice.connect("metabase"),
    sluice.connect("anna"),
  ]);
});
afterAll(async () => {
  await Promise.all([app, watched, agent].map((client) => client?.end()));
  await sluice?.close();
  await database?.drop();
  await server?.stop();
});

const add = (id: number) =>
  app.query("INSERT INTO people VALUES ($1, $2, $3, '+49301234567', 'n')", [
    id,
    `p${id}@example.com`,
    `p${id}@example.com`,
  ]);
/** Person 1 under key 1, 2 under key 2, 3 under key 3; everything else is NULL. */
beforeEach(async () => {
  await database.query("TRUNCATE people, mails");
  for (const version of [1, 2, 3]) {
    sealer.use(ring(...[1, 2, 3].filter((each) => each !== version), version));
    await add(version);
  }
  await app.query("INSERT INTO people VALUES (9, NULL)");
});

const idsOf = async (client: pg.Client, text: string, values?: unknown[]) =>
  (await client.query({ text, ...(values && { values }), rowMode: "array" })).rows
    .map(([id]) => Number(id))
    .toSorted();

const EMAILS = ["p1@example.com", "p2@example.com", "p3@example.com"];

const SEARCHES: readonly [string, (value: string) => unknown[] | undefined][] = [
  ["email = $1", (value) => [value]],
  ["email = ($1)", (value) => [value]],
  ["email = $1::text", (value) => [value]],
  ["email = CAST(($1) AS varchar)", (value) => [value]],
  ["email OPERATOR(pg_catalog.=) $1", (value) => [value]],
  ["email::text = $1 AND true", (value) => [value]],
  ["(email = ($1)) IS TRUE", (value) => [value]],
  ["email IN ($1)", (value) => [value]],
  ["email IN (($1), 'nobody')", (value) => [value]],
  ["email = ANY($1)", (value) => [[value, null, "nobody"]]],
  ["email = ANY(ARRAY[$1, 'nobody'])", (value) => [value]],
  ["mail = $1", (value) => [value]],
  ["mail IN ('nobody', ($1))", (value) => [value]],
  ["NOT email <> $1", (value) => [value]],
  ["NOT email <> ALL($1)", (value) => [[value]]],
  ["email = $1 AND mail = $2", (value) => [value, value]],
  ["id IN (SELECT id FROM people p WHERE p.email = $1)", (value) => [value]],
  ["email = 'VALUE'", () => undefined],
  ["email = ('VALUE')", () => undefined],
  ["email = text 'VALUE'", () => undefined],
  ["email IN ('VALUE')", () => undefined],
  ["email IN (('VALUE'))", () => undefined],
  ["email IN ('nobody', 'VALUE')", () => undefined],
  ["email = ANY('{VALUE,nobody}')", () => undefined],
  ["email = ANY(ARRAY['VALUE'])", () => undefined],
  ["email = ANY(ARRAY[('VALUE')]::text[])", () => undefined],
  ["mail = 'VALUE'", () => undefined],
  ["NOT (mail <> 'VALUE')", () => undefined],
  ["mail /* of */ = /* whom */ 'VALUE' -- this", () => undefined],
];

test.each(SEARCHES)("while keys are rotated, %s finds rows under every key", async (search, values) => {
  for (const [index, email] of EMAILS.entries())
    for (const client of [app, watched])
      expect(
        await idsOf(
          client,
          `SELECT id FROM people WHERE ${search.replaceAll("VALUE", email)}`,
          values(email),
        ),
      ).toEqual([index + 1]);
});

test("what is not equal is so under every key", async () => {
  for (const client of [app, watched]) {
    expect(await idsOf(client, "SELECT id FROM people WHERE email <> $1", [EMAILS[0]])).toEqual([2, 3]);
    expect(await idsOf(client, "SELECT id FROM people WHERE email <> 'p2@example.com'")).toEqual([1, 3]);
    expect(
      await idsOf(client, "SELECT id FROM people WHERE email NOT IN ('p2@example.com', $1)", [EMAILS[2]]),
    ).toEqual([1]);
    expect(await idsOf(client, "SELECT id FROM people WHERE email <> ALL($1)", [EMAILS.slice(1)])).toEqual([
      1,
    ]);
    expect(await idsOf(client, "SELECT id FROM people WHERE email = $1", [null])).toEqual([]);
    expect(await idsOf(client, "SELECT id FROM people WHERE email <> $1", [null])).toEqual([]);
  }
});

test("an agent finds by the exact value under every key, and writers change what they find", async () => {
  for (const [index, email] of EMAILS.entries()) {
    expect(await idsOf(agent, "SELECT id FROM people WHERE email = $1", [email])).toEqual([index + 1]);
    expect(await idsOf(agent, `SELECT id FROM people WHERE mail = '${email}'`)).toEqual([index + 1]);
    const changed = await app.query("UPDATE people SET note = 'x', email = $1 WHERE email = $1", [email]);
    expect(changed.rowCount).toBe(1);
  }
  const { rows } = await database.query(
    "SELECT DISTINCT left(email, 7) AS mark FROM people WHERE email IS NOT NULL",
  );
  expect(rows).toEqual([{ mark: "slt1_3_" }]);
  expect((await app.query("DELETE FROM people WHERE mail = ANY($1)", [EMAILS])).rowCount).toBe(3);
});

test("a driver that sends parameters and arrays in binary finds them, too", async () => {
  const sql = postgres(sluice.uri("helpdesk_app"), { max: 1 });
  onTestFinished(() => sql.end());
  for (const email of EMAILS) {
    expect(await sql`SELECT email FROM people WHERE email = ${email}`).toEqual([{ email }]);
    expect(await sql`SELECT email FROM people WHERE email = ANY(${[email, "nobody"]})`).toEqual([{ email }]);
    expect(await sql`SELECT email FROM people WHERE email IN ${sql([email, "nobody"])}`).toEqual([{ email }]);
  }
});

test("numbers have one key, and nothing of theirs changes", async () => {
  expect(await idsOf(app, "SELECT id FROM people WHERE tel = $1", ["+49301234567"])).toEqual([1, 2, 3]);
  expect(await idsOf(app, "SELECT id FROM people WHERE '+49301234567' = tel")).toEqual([1, 2, 3]);
  expect((await app.query("SELECT tel FROM people WHERE tel IS NOT NULL GROUP BY tel")).rows).toHaveLength(1);
});

test.each([
  "SELECT p.id FROM people p JOIN mails m ON m.sender = p.email",
  "SELECT p.id FROM people p, mails m WHERE m.sender = p.email",
  "SELECT a.id FROM people a JOIN people b USING (email)",
  "SELECT id FROM people WHERE email IN (SELECT sender FROM mails)",
  "SELECT email FROM people EXCEPT SELECT sender FROM mails",
  "SELECT email FROM people UNION SELECT sender FROM mails",
  "SELECT email, count(*) FROM people GROUP BY email",
  "SELECT email, count(*) FROM people GROUP BY 1",
  "SELECT DISTINCT email FROM people",
  "SELECT DISTINCT ON (email) id FROM people",
  "SELECT count(DISTINCT email) FROM people",
  "SELECT DISTINCT s FROM (SELECT email FROM people) s",
  "SELECT s, count(*) FROM (SELECT email FROM people) s GROUP BY s",
  "SELECT count(DISTINCT s) FROM (SELECT email FROM people) s",
  "SELECT 1 FROM (SELECT email FROM people) a JOIN (SELECT sender FROM mails) b ON a = b",
  "SELECT 1 FROM people a JOIN mails b ON (a).email = (b).sender",
  "SELECT a FROM (SELECT email FROM people) a EXCEPT SELECT b FROM (SELECT sender FROM mails) b",
  "SELECT DISTINCT to_jsonb(s) FROM (SELECT email FROM people) s",
  "WITH RECURSIVE w(i, e) AS (SELECT id, email FROM people WHERE id = 1 UNION ALL SELECT p.id, p.email FROM w, people p WHERE p.id = w.i + 1) CYCLE e SET c USING path SELECT i, c FROM w",
  "SELECT rank() OVER (PARTITION BY email) FROM people",
  "SELECT rank() OVER w FROM people WINDOW w AS (PARTITION BY email)",
  "INSERT INTO people (id, email) VALUES (5, 'p1@example.com') ON CONFLICT (email) DO UPDATE SET note = 'x'",
  "INSERT INTO people (id, email) VALUES (5, 'p1@example.com') ON CONFLICT DO NOTHING",
  "SELECT id FROM people WHERE 'p1@example.com' = email",
  "SELECT id FROM people WHERE email IS NOT DISTINCT FROM 'p1@example.com'",
  "SELECT id FROM people WHERE (email, id) = ('p1@example.com', 1)",
  "SELECT id FROM people WHERE (email, id) IN (('p1@example.com', 1))",
  "SELECT id FROM people WHERE email = ALL('{p1@example.com}')",
  "SELECT id FROM people WHERE email <> ANY('{p1@example.com}')",
  "SELECT id FROM people WHERE 'p1@example.com' IN (SELECT email FROM people)",
  "SELECT CASE email WHEN 'p1@example.com' THEN 1 END FROM people",
  "SELECT nullif(email, 'p1@example.com') FROM people",
])("while keys are rotated, a role that sees all is refused: %s", async (text) => {
  for (const client of [app, watched])
    await expect(client.query(text)).rejects.toMatchObject({
      code: "55000",
      message: expect.stringContaining("while keys are rotated"),
      hint: expect.stringMatching(/rotat/),
    });
  sealer.use(ring(3));
  await app.query(text);
});

test("a key that is retired is read, and neither searched for nor waited for", async () => {
  sealer.use({ ...ring(1, 2, 3), retired: new Set([1, 2]) });
  expect(await idsOf(app, "SELECT id FROM people WHERE email = ANY($1)", [EMAILS])).toEqual([3]);
  expect(
    (await app.query("SELECT id, email FROM people WHERE id < 9 GROUP BY email, id ORDER BY id")).rows,
  ).toEqual(EMAILS.map((email, index) => ({ id: String(index + 1), email })));
  expect((await app.query("SELECT DISTINCT email FROM people")).rows).toHaveLength(4);
});

test.each([
  ["retired 2", "there is no key of the retired version 2"],
  ["retired 1", "the active version 1 is retired"],
  ["retired", "a line must be"],
])("a ring with the line %s is refused", (line, problem) => {
  expect(parseTokenRing(`${ringText(1)}\n${line}`)).toEqual({
    ok: false,
    problem: expect.stringContaining(problem),
  });
});

test("rows of a table are grouped by tokens beside its primary key, and upserts by it go on", async () => {
  for (const text of [
    "SELECT id, email FROM people GROUP BY id, email",
    "SELECT id, email FROM people GROUP BY email, 1",
    "SELECT DISTINCT p.* FROM people p LEFT JOIN mails m ON m.person = p.id",
    "SELECT email FROM people UNION ALL SELECT sender FROM mails",
    "INSERT INTO people (id, email) VALUES (9, 'p9@example.com') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING id",
    "SELECT count(email) FROM people",
  ])
    expect((await app.query(text)).rows.length).toBeGreaterThan(0);
});

test("rows of a table with a primary key are told apart by it, whole or by fields without tokens", async () => {
  for (const text of [
    "SELECT DISTINCT p FROM people p",
    "SELECT p, count(*) FROM people p GROUP BY p",
    "SELECT a.id FROM people a JOIN people b ON (a).id = (b).id",
  ])
    expect((await app.query(text)).rows).toHaveLength(4);
});

test("what SQL's PREPARE has made under one key is prepared again when there are several", async () => {
  sealer.use(ring(1));
  await app.query("PREPARE search AS SELECT count(*)::int AS n FROM mails WHERE sender = 'x@example.com'");
  await app.query("PREPARE store AS INSERT INTO mails VALUES (5, 5, 'x@example.com')");
  await app.query("PREPARE other AS SELECT 1 AS n");
  sealer.use(ring(1, 2));
  await app.query("INSERT INTO mails VALUES (1, 1, 'x@example.com')");
  const ways = [
    "EXECUTE search",
    "EXECUTE store",
    "EXPLAIN ANALYZE EXECUTE store",
    "SELECT 1; EXECUTE store",
    "SELECT id FROM mails; EXECUTE store",
  ];
  for (const text of ways) await expect(app.query(text)).rejects.toMatchObject({ code: "26000" });
  for (const text of ways.slice(0, 3))
    await expect(app.query({ text, name: text })).rejects.toMatchObject({ code: "26000" });
  expect((await app.query("EXECUTE other")).rows).toEqual([{ n: 1 }]);
  await app.query("DEALLOCATE search; DEALLOCATE store");
  await app.query("PREPARE search AS SELECT count(*)::int AS n FROM mails WHERE sender = 'x@example.com'");
  expect((await app.query("EXECUTE search")).rows).toEqual([{ n: 1 }]);
  // What the driver prepares may name it before the keys change.
  const named = { text: "EXECUTE search", name: "named" };
  expect((await app.query(named)).rows).toEqual([{ n: 1 }]);
  sealer.use(ring(1, 2, 3));
  await expect(app.query(named)).rejects.toMatchObject({ code: "26000" });
  await app.query("DEALLOCATE search");
  await app.query("PREPARE search AS SELECT 2 AS n");
  expect((await app.query("EXECUTE search")).rows).toEqual([{ n: 2 }]);
  await app.query("DEALLOCATE ALL");
});

test("what was prepared under one key is prepared again when there are several", async () => {
  sealer.use(ring(1));
  const search = (email: string | undefined) =>
    app.query({
      name: "again",
      text: "SELECT id FROM people WHERE email = $1 AND mail IN ($2)",
      values: [email, email],
    });
  expect((await search(EMAILS[0])).rows).toEqual([{ id: "1" }]);
  sealer.use(ring(1, 2, 3));
  await expect(search(EMAILS[1])).rejects.toMatchObject({ code: "26000" });
  // A driver forgets the name with the connection, or by the code; node-postgres keeps it.
  const other = await sluice.connect("helpdesk_app");
  onTestFinished(() => other.end());
  expect(await idsOf(other, "SELECT id FROM people WHERE email = $1", [EMAILS[1]])).toEqual([2]);
});

/** `sluice tokens rotate`, with keys 1 and 2. */
async function rotate(column: string, ...more: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), "sluice-rotation-"));
  try {
    writeFileSync(join(folder, "policy.yaml"), POLICY);
    let [output, errors] = ["", ""];
    const status = await tokensColumn(
      "rotate",
      [column, "--policy", folder, "--upstream", database.uri, ...more],
      { SLUICE_TOKEN_KEYS: ringText(1, 2) },
      { output: { write: (text) => (output += text) }, errors: { write: (text) => (errors += text) } },
    );
    return { status, output, errors };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("while rotate runs, each person is found at any time, read as before, and changed", {
  timeout: 120_000,
}, async () => {
  await database.query("TRUNCATE people");
  sealer.use(ring(1));
  const count = 300;
  for (let id = 1; id <= count; id++) await add(id);
  sealer.use(ring(1, 2));
  let isOver = false;
  const rotating = rotate("public.people.email", "--batch", "10", "--rate", "300").finally(() => {
    isOver = true;
  });
  let searches = 0;
  const mixed = new Set<number>();
  for (let id = 1; !isOver; id = (id % count) + 1) {
    const email = `p${id}@example.com`;
    const { rows } = await app.query("SELECT id, email FROM people WHERE email = $1", [email]);
    expect(rows).toEqual([{ id: String(id), email }]);
    expect(
      (await watched.query(`UPDATE people SET note = 'seen' WHERE email IN ('${email}')`)).rowCount,
    ).toBe(1);
    searches++;
    const [state] = (await database.query("SELECT count(DISTINCT left(email, 7)) AS keys FROM people")).rows;
    mixed.add(Number(state?.keys));
  }
  expect(await rotating).toMatchObject({ status: 0 });
  expect(searches).toBeGreaterThan(20);
  expect(mixed).toContain(2);
  sealer.use(ring(2));
  expect((await app.query("SELECT id FROM people WHERE email = ANY($1)", [EMAILS])).rows).toHaveLength(3);
  expect((await app.query("SELECT email FROM people GROUP BY email")).rows).toHaveLength(count);
});

test("a value that is there under both keys is reported by rotate, and the others are changed", async () => {
  await database.query("TRUNCATE people");
  sealer.use(ring(1));
  for (const id of [1, 2, 3, 4, 5]) await add(id);
  sealer.use(ring(1, 2));
  // The unique index of the database does not see that this is the address of person 2.
  await app.query("INSERT INTO people (id, email) VALUES (20, 'p2@example.com')");
  expect(await rotate("public.people.email")).toMatchObject({
    status: 1,
    output: expect.stringMatching(
      /4 rows changed[\s\S]*1 rows stay as they are[\s\S]*such as that of id 2\./,
    ),
  });
  await app.query("DELETE FROM people WHERE id = 20");
  expect(await rotate("public.people.email")).toMatchObject({ status: 0 });
  sealer.use(ring(2));
  expect((await app.query("SELECT id FROM people WHERE email = 'p2@example.com'")).rows).toEqual([
    { id: "2" },
  ]);
});
