import type pg from "pg";
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import {
  bindMessage,
  closeMessage,
  copyFailMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { cstring, Frontend, message, uint16 } from "../../proxy/wire/messages.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { query, Raw } from "../harness/raw-client.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

/* Cursors and prepared statements, by SQL and by the protocol, which share their names. */

const sealer = sealerOf(keyLine(1, 7));

const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true }
  card: { mask: { last: 4 }, stored: digits }
tables:
  public.people: { subject: id, columns: { email: email, card: card } }
  public.notes: { columns: { note: email } }
unclassified: show
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  watched: { users: [metabase], reads: all, writes: all, sees: all, watch: true }
  lead: { users: [ben], reads: [public.people], writes: [public.people], sees: [email, card] }
  agent: { users: [anna], reads: [public.people], sees: [] }
`;

let server: RunningPostgres;
let database: TestDatabase;
let sluice: TestProxy;
let clients: readonly pg.Client[];

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "named");
  await database.query(`
    CREATE TABLE people (id bigint PRIMARY KEY, email text, card text);
    CREATE TABLE notes (id bigint, note text);
    CREATE TABLE plain (id bigint, note text);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, metabase, anna, ben;
  `);
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
  clients = await Promise.all(["helpdesk_app", "metabase", "ben"].map((user) => sluice.connect(user)));
  await clients[0]?.query("INSERT INTO people VALUES (1, 'alice@example.com', '4111 1111 1111 1111')");
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.query("ROLLBACK; DEALLOCATE ALL")));
  await database.query("DELETE FROM people WHERE id > 1");
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.end()));
  await sluice?.close();
  await database?.drop();
  await server?.stop();
});

const valuesOf = async (client: pg.Client, text: string) =>
  (await client.query({ text, rowMode: "array" })).rows.flat();
/** The server does not say that these are columns. */
const EMAILS = "SELECT email FROM people WHERE id = 1 UNION SELECT email FROM people WHERE id = 1";
const CARDS = EMAILS.replaceAll("email", "card");
/** A number that is no token, and would be another one if it were taken for one. */
const NUMBERS = "SELECT '4111 1111 1111 1111' AS card";
const NUMBER = "4111 1111 1111 1111";

test("a cursor and a prepared statement of the same name are not taken for one another", async () => {
  for (const client of clients) {
    await client.query(`BEGIN; DECLARE x CURSOR FOR ${EMAILS}`);
    await client.query("PREPARE x AS SELECT 1 AS n");
    await client.query(`PREPARE y AS ${CARDS}`);
    await client.query(`DECLARE y CURSOR FOR ${NUMBERS}`);
    expect(await valuesOf(client, "FETCH ALL FROM x")).toEqual(["alice@example.com"]);
    expect(await valuesOf(client, "EXECUTE x")).toEqual([1]);
    expect(await valuesOf(client, "FETCH ALL FROM y")).toEqual([NUMBER]);
    expect(await valuesOf(client, "EXECUTE y")).toEqual([NUMBER]);
  }
});

test("a name that the server did not give stands for what it stood for before", async () => {
  for (const client of clients) {
    await client.query(`PREPARE x AS ${NUMBERS}`);
    await expect(client.query(`PREPARE x AS ${CARDS}`)).rejects.toMatchObject({ code: "42P05" });
    expect(await valuesOf(client, "EXECUTE x")).toEqual([NUMBER]);
    await client.query(`PREPARE y AS ${CARDS}`);
    await expect(client.query(`PREPARE y AS ${NUMBERS}`)).rejects.toMatchObject({ code: "42P05" });
    expect(await valuesOf(client, "EXECUTE y")).toEqual([NUMBER]);
    await client.query(`BEGIN; DECLARE z CURSOR FOR ${CARDS}; SAVEPOINT s`);
    await expect(client.query(`DECLARE z CURSOR FOR ${NUMBERS}`)).rejects.toMatchObject({ code: "42P03" });
    await client.query("ROLLBACK TO s");
    expect(await valuesOf(client, "FETCH ALL FROM z")).toEqual([NUMBER]);
  }
});

test("what a name stands for is decided in the order of the statements, in one text and in one pipeline", async () => {
  for (const user of ["helpdesk_app", "metabase", "ben"]) {
    const raw = await sluice.raw(user);
    onTestFinished(() => void raw.socket.destroy());
    const run = (text: string) => [
      parseMessage("", Buffer.from(text)),
      bindMessage("", ""),
      executeMessage("", 0),
    ];
    raw.send(
      query(`PREPARE p AS ${CARDS}; EXECUTE p; DEALLOCATE p; PREPARE p AS ${NUMBERS}; EXECUTE p`),
      query("EXECUTE p"),
      ...run("DEALLOCATE p"),
      ...run(`PREPARE p AS ${EMAILS}`),
      ...run("EXECUTE p"),
      syncMessage,
    );
    for (const expected of [[NUMBER, NUMBER], [NUMBER], ["alice@example.com"]]) {
      const answer = await raw.answer();
      expect([...answer.matchAll(/D\(([^)]*)\)/g)].map(([, value]) => value)).toEqual(expected);
    }
  }
});

test("what the protocol has named is read by SQL, and the other way round", async () => {
  for (const user of ["helpdesk_app", "metabase", "ben"]) {
    const raw = await sluice.raw(user);
    onTestFinished(() => void raw.socket.destroy());
    const cards = Buffer.from(CARDS);
    const asked = [
      [query("BEGIN")],
      [query(`PREPARE a AS ${CARDS}`)],
      [bindMessage("", "a"), executeMessage("", 0), syncMessage],
      [parseMessage("b", cards), syncMessage],
      [query("EXECUTE b")],
      [parseMessage("c", Buffer.from("EXECUTE b")), syncMessage],
      [query("EXECUTE c")],
      [bindMessage("d", "b"), syncMessage],
      [query("FETCH ALL FROM d")],
      [query(`DECLARE e CURSOR FOR ${CARDS}`)],
      [executeMessage("e", 0), syncMessage],
    ];
    raw.send(...asked.flat());
    const shown: string[] = [];
    for (const _ of asked) shown.push(...((await raw.answer()).match(/D\([^)]*\)/g) ?? []));
    expect(shown).toEqual(Array(5).fill(`D(${NUMBER})`));
  }
});

test("values that EXECUTE gives a statement of the driver's do not reach the database in the clear", async () => {
  for (const [index, client] of clients.entries()) {
    const insert = { name: "write", text: "INSERT INTO people (id, email) VALUES ($1, $2)" };
    await client.query({ ...insert, values: [10 + index, "clear@example.com"] });
    const search = { name: "search", text: "SELECT id FROM people WHERE email = $1" };
    await client.query({ ...search, values: ["clear@example.com"] });
    await client.query({ name: "indirect", text: "EXECUTE write(3, 'clear@example.com')" }).catch(() => {});
    for (const text of [
      "EXECUTE write(3, 'clear@example.com')",
      "EXECUTE search('clear@example.com')",
      "SELECT 1; EXECUTE write(3, 'clear@example.com')",
    ])
      await expect(client.query(text)).rejects.toMatchObject({
        code: "42501",
        message: "what EXECUTE gives for parameters cannot be turned into tokens",
      });
    for (const text of [
      "EXPLAIN ANALYZE EXECUTE write(3, 'clear@example.com')",
      "CREATE TEMPORARY TABLE t AS EXECUTE search('clear@example.com')",
      "EXECUTE indirect",
      // As a server may have it that knows more syntax.
      "EXECUTE write(3, 'clear@example.com'); SOMETHING ELSE",
    ])
      await expect(client.query(text)).rejects.toThrow();
    await client.query("DEALLOCATE ALL");
  }
  const { rows } = await database.query("SELECT id FROM people WHERE email LIKE '%clear%' OR id IN (2, 3)");
  expect(rows).toEqual([]);
});

test("statements of a role that sees all do not fill the memory", async () => {
  const raw = await sluice.raw("helpdesk_app");
  onTestFinished(() => void raw.socket.destroy());
  const text = `INSERT INTO people (id, email) VALUES (2, $1) /* ${"x".repeat(9_900)} */`;
  const prepare = (i: number) => raw.send(parseMessage(`s${i}`, Buffer.from(text)), syncMessage).answer();
  let count = 0;
  while (count < 5_000 && !(await prepare(count)).includes("E(54000)")) count++;
  expect(count).toBeGreaterThan(1_000);
  expect(count).toBeLessThan(5_000);
  const close = closeMessage({ target: "statement", name: "s0" });
  expect(await raw.send(close, syncMessage).answer()).toBe("3 Z(I)");
  expect(await prepare(0)).toBe("1 Z(I)");
});

test("what a function has prepared is not executed by its name", async () => {
  await database.query(
    `CREATE FUNCTION prepares(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END'`,
  );
  for (const client of clients.slice(0, 2)) {
    await client.query(
      "SELECT prepares('PREPARE own (text) AS INSERT INTO people (id, email) VALUES (2, $1)')",
    );
    await expect(client.query("EXECUTE own('clear')")).rejects.toMatchObject({ code: "26000" });
  }
  expect((await database.query("SELECT id FROM people WHERE id = 2")).rows).toEqual([]);
});

test("a statement of the same name, between Bind and Execute, does not get its values", async () => {
  const raw = await sluice.raw("helpdesk_app");
  onTestFinished(() => void raw.socket.destroy());
  raw.send(
    query("BEGIN"),
    query("PREPARE p (text) AS SELECT $1"),
    ...[parseMessage("", Buffer.from("EXECUTE p('clear')")), bindMessage("run", ""), syncMessage],
    query("DEALLOCATE p"),
    ...[parseMessage("p", Buffer.from("INSERT INTO people (id, email) VALUES (2, $1)")), syncMessage],
    ...[executeMessage("run", 0), syncMessage],
  );
  const answers: string[] = [];
  for (let count = 0; count < 6; count++) answers.push(await raw.answer());
  expect(answers.slice(0, 5).join()).not.toContain("E(");
  expect(answers[5]).toBe("E(42501) Z(E)");
});

test("what was prepared before its table held tokens is prepared again", async () => {
  const [app] = clients;
  await app?.query("PREPARE before AS INSERT INTO plain VALUES (1, 'clear')");
  onTestFinished(() => sluice.setPolicy(POLICY));
  sluice.setPolicy(POLICY.replace("public.notes:", "public.plain:"));
  await expect(app?.query("EXECUTE before")).rejects.toMatchObject({ code: "26000" });
  expect((await database.query("SELECT * FROM plain")).rows).toEqual([]);
});

test("what was prepared while nothing was stored as tokens is prepared again", async () => {
  onTestFinished(() => sluice.setPolicy(POLICY));
  sluice.setPolicy(`
version: 1
tables: {}
unclassified: show
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  lead: { users: [ben], reads: [public.people], writes: [public.people] }
`);
  for (const user of ["helpdesk_app", "ben"]) {
    const raw = await sluice.raw(user);
    onTestFinished(() => void raw.socket.destroy());
    const insert = "INSERT INTO people (id, email) VALUES (2, 'clear')";
    raw.send(
      query(`PREPARE p AS ${insert}`),
      ...[query("BEGIN"), parseMessage("q", Buffer.from(insert)), bindMessage("run", "q"), syncMessage],
    );
    for (const _ of ["p", "BEGIN", "q"]) expect(await raw.answer()).not.toContain("E(");
    sluice.setPolicy(POLICY);
    for (const messages of [
      [executeMessage("run", 0), syncMessage],
      [query("ROLLBACK")],
      [bindMessage("", "q"), executeMessage("", 0), syncMessage],
      [query("EXECUTE p")],
    ])
      raw.send(...messages);
    expect(await raw.answer()).toBe("E(26000) Z(E)");
    expect(await raw.answer()).toBe("C(ROLLBACK) Z(I)");
    for (const _ of ["q", "p"]) expect(await raw.answer()).toBe("E(26000) Z(I)");
    const again = Buffer.from("INSERT INTO people (id, email) VALUES (3, 'clear')");
    raw.send(parseMessage("q", Buffer.from("SELECT 1")), syncMessage, query("DEALLOCATE q"));
    expect(await raw.answer()).toContain("E(42P05)");
    await raw.answer();
    raw.send(parseMessage("q", again), bindMessage("", "q"), executeMessage("", 0), syncMessage);
    expect(await raw.answer()).toContain("C(INSERT 0 1)");
    const { rows } = await database.query("DELETE FROM people WHERE id > 1 RETURNING email");
    expect(rows).toEqual([{ email: expect.stringMatching(/^slt1_/) }]);
    sluice.setPolicy(
      POLICY.replace(/token_canary.*\n/, "").replaceAll(/, (stored: \w+|joinable: true)/g, ""),
    );
  }
});

test("a role that does not see the class gets masks by whatever name", async () => {
  const agent = await sluice.connect("anna");
  onTestFinished(() => agent.end());
  await agent.query(`PREPARE p AS ${EMAILS}`);
  await agent.query(`BEGIN; DECLARE p CURSOR FOR ${CARDS}`);
  const [email] = await valuesOf(agent, "EXECUTE p");
  expect(email).toMatch(/^a\*+@/);
  expect(await valuesOf(agent, "FETCH ALL FROM p")).toEqual([expect.stringMatching(/\*.*1111$/)]);
});

const parse = (name: string, text: string) => parseMessage(name, Buffer.from(text));
const describe = (name: string) => describeMessage({ target: "statement", name });
const execute = (name: string) => [bindMessage("", name), executeMessage("", 0), syncMessage];
const CURSOR = "DECLARE c CURSOR FOR SELECT g FROM generate_series(1, 4) g";

test.each([
  [
    "a cursor that the protocol runs in part",
    [
      [query(`BEGIN; SELECT 1; ${CURSOR}`)],
      [executeMessage("c", 1), syncMessage],
      [query("FETCH 1 FROM c")],
      [closeMessage({ target: "portal", name: "c" }), syncMessage],
      [query("FETCH 1 FROM c")],
    ],
  ],
  [
    "names behind a message that has failed and names nothing",
    [
      [
        ...[parse("a", "SELECT 1 AS one"), syncMessage],
        ...[executeMessage("nowhere", 0), parse("b", "SELECT 2"), bindMessage("p", "a")],
        ...[closeMessage({ target: "statement", name: "a" }), syncMessage],
      ],
      execute("a"),
      execute("b"),
      [executeMessage("p", 0), syncMessage],
    ],
  ],
  [
    "a Bind whose counts do not fit",
    [
      [
        parse("d", "SELECT 1 AS one"),
        message(Frontend.Bind, cstring(""), cstring("d"), uint16(3), ...[0, 0, 0, 2].map(uint16)),
        syncMessage,
      ],
      execute("d"),
    ],
  ],
])("%s, is answered as by the server itself", async (_, rounds) => {
  const answers = async (client: Raw) => {
    const seen: string[] = [];
    for (const round of rounds) {
      client.send(...round);
      for (const each of round)
        if (each[0] === Frontend.Query || each[0] === Frontend.Sync) seen.push(await client.answer());
    }
    client.socket.destroy();
    return seen;
  };
  const expected = await answers(await Raw.logIn(server.port, database.superuser, database.database));
  for (const user of ["helpdesk_app", "metabase", "ben"])
    expect(await answers(await sluice.raw(user))).toEqual(expected);
});

test("what is described is not taken for what would have been described next", async () => {
  for (const user of ["helpdesk_app", "metabase", "ben"]) {
    const raw = await sluice.raw(user);
    const texts = ["SELECT id FROM people", "SELECT 1 AS n, email FROM people WHERE id = 1"];
    raw.send(...texts.map((text, i) => parse(`s${i}`, text)), syncMessage);
    raw.send(describe("s0"), executeMessage("nowhere", 0), describe("s1"), syncMessage, ...execute("s1"));
    const seen = [await raw.answer(), await raw.answer(), await raw.answer()];
    expect(seen[2]).toContain("D(1,alice@example.com)");
    raw.socket.destroy();
  }
});

test("settings and rows that the server drops are not waited for", async () => {
  for (const user of ["helpdesk_app", "metabase", "ben"]) {
    const raw = await sluice.raw(user);
    await raw.send(executeMessage("nowhere", 0)).until("E");
    raw.send(query("SET search_path TO public"), query("COPY plain FROM STDIN"), syncMessage);
    expect(await raw.answer()).toBe("Z(I)");
    expect(await raw.send(query("SELECT 1 AS one")).answer()).toContain("D(1)");
    raw.socket.destroy();
  }
});

test("nor are answers that the server keeps to itself, behind a query that it has dropped", async () => {
  const sent = [
    ...[bindMessage("", ""), query("SELECT 1"), syncMessage, query("")],
    ...[parse("", "SELECT 1"), query("COPY plain FROM STDIN"), copyFailMessage("enough"), syncMessage],
  ];
  const answers = async (raw: Raw) => {
    raw.send(...sent);
    const seen: string[] = [];
    for (let i = 0; i < 4; i++) seen.push(await raw.answer());
    raw.socket.destroy();
    return seen;
  };
  const expected = await answers(await Raw.logIn(server.port, database.superuser, database.database));
  for (const user of ["helpdesk_app", "metabase"])
    expect(await answers(await sluice.raw(user))).toEqual(expected);
});
