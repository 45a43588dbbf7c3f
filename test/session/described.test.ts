import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  bindMessage,
  describeMessage,
  executeMessage,
  flushMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { type Message, query, type Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

/* Somebody else's DDL goes past the proxy: what it shows of protected columns, from the moment of its commit on. */

const POLICY = `
version: 1
classes: { body: { mask: { constant: "masked" } }, plain: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { email: body } }
  public.vault: { columns: { id: plain, body: body } }
  public.notes: { columns: { id: plain, body: plain } }
roles:
  outsider: { users: [cleo], reads: all, writes: [public.notes], sees: [plain] }
  limited: { users: [anna], extends: outsider, rows: 100 }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
unclassified: mask
`;

const TABLES = `
  DROP VIEW IF EXISTS shown;
  DROP TABLE IF EXISTS notes, vault, aside;
  CREATE TABLE notes (id bigint, body text); INSERT INTO notes VALUES (1, 'a note');
  CREATE TABLE vault (id bigint, body text); INSERT INTO vault VALUES (1, 'CANARY');
  CREATE VIEW shown AS SELECT id, body FROM notes;
  GRANT SELECT, INSERT, UPDATE, DELETE ON notes, vault, shown TO PUBLIC;
`;
const SWAP = `
  BEGIN; ALTER TABLE notes RENAME TO aside; ALTER TABLE vault RENAME TO notes; ALTER TABLE aside RENAME TO vault;
  COMMIT`;
const REMAKE = `
  BEGIN; DROP VIEW shown; CREATE VIEW shown AS SELECT id, body FROM vault; GRANT SELECT ON shown TO PUBLIC; COMMIT`;
const ADD = "ALTER TABLE notes ADD COLUMN secret text DEFAULT 'CANARY'";

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
});
afterAll(() => world?.close());
beforeEach(async () => {
  await world.database.query(TABLES);
});

const parse = (name: string, sql: string) => parseMessage(name, Buffer.from(sql));

/** How many results did not verify so far. */
async function failures(sluice: TestProxy): Promise<number> {
  const { text } = await sluice.metrics.exposition();
  return Number(/^sluice_verification_failures_total (\d+)/m.exec(text)?.[1] ?? 0);
}

function shows(messages: readonly Message[]): boolean {
  return messages.some(({ bytes }) => bytes.includes("CANARY"));
}

describe("while the catalog is out of date", () => {
  let sluice: TestProxy;
  let anna: Raw;
  let cleo: Raw;

  beforeEach(async () => {
    sluice = await startProxy(world.database, { policy: POLICY });
    const live = await sluice.catalogs.of(world.database.database);
    // Nobody looks at the catalog from here on.
    Object.assign(live, { watch: () => () => {}, lookAgain: () => undefined, recent: async () => {} });
    [anna, cleo] = [await sluice.raw("anna"), await sluice.raw("cleo")];
    return async () => {
      for (const client of [anna, cleo]) client.socket.destroy();
      await sluice.close();
    };
  });

  const READ = "select body from notes";
  const execute = executeMessage("", 0);
  const portal = describeMessage({ target: "portal", name: "" });
  const statement = describeMessage({ target: "statement", name: "s" });

  test.each([
    ["a simple query", [query(READ)]],
    ["one of several statements", [query(`select 1; ${READ}; select 2`)]],
    ["EXECUTE", [query(`prepare p as ${READ}; execute p`)]],
    [
      "a cursor",
      [query("begin"), query(`declare c cursor for ${READ}`), query("fetch all c"), query("rollback")],
    ],
    ["Execute alone", [parse("", READ), bindMessage("", ""), execute, syncMessage]],
    [
      "Execute in portions",
      [parse("", READ), bindMessage("", ""), executeMessage("", 1), executeMessage("", 1), syncMessage],
    ],
    [
      "Execute behind Flush",
      [parse("", READ), flushMessage, bindMessage("", ""), flushMessage, execute, flushMessage, syncMessage],
    ],
    ["Describe of the portal", [parse("", READ), bindMessage("", ""), portal, execute, syncMessage]],
    ["Describe of the statement", [parse("s", READ), statement, bindMessage("", "s"), execute, syncMessage]],
    [
      "Describe in an earlier pipeline",
      [parse("s", READ), statement, syncMessage, bindMessage("", "s"), execute, syncMessage],
    ],
    [
      "EXECUTE by Execute",
      [query(`prepare p as ${READ}`), parse("", "execute p"), bindMessage("", ""), execute, syncMessage],
    ],
    [
      "FETCH by Execute",
      [
        query("begin"),
        query(`declare c cursor for ${READ}`),
        parse("", "fetch 1 from c"),
        bindMessage("", ""),
        execute,
        syncMessage,
        query("rollback"),
      ],
    ],
    [
      "a cursor as a portal",
      [
        query("begin"),
        query(`declare c cursor for ${READ}`),
        executeMessage("c", 0),
        syncMessage,
        query("rollback"),
      ],
    ],
  ])("no row of a table that took another's name leaves: %s", async (_, messages) => {
    await world.database.query(SWAP);
    const ends = messages.filter((message) => message[0] === 0x51 || message[0] === 0x53).length;
    for (const client of [anna, cleo]) {
      const before = await failures(sluice);
      client.send(...messages);
      const seen: Message[] = [];
      for (let i = 0; i < ends; i++) seen.push(...(await client.until("Z")));
      expect(shows(seen)).toBe(false);
      expect(shortOf(seen)).toContain("E(42501)");
      expect(seen.filter(({ type }) => type === "E")).toHaveLength(1);
      expect(await failures(sluice)).toBeGreaterThan(before);
      // An ordinary error: the session goes on.
      expect(await client.send(query("select 1 as one")).answer()).toBe("T(one) D(1) C(SELECT 1) Z(I)");
    }
  });

  test("the transaction fails, as at any error", async () => {
    await world.database.query(SWAP);
    for (const client of [anna, cleo]) {
      expect(await client.send(query("begin")).answer()).toBe("C(BEGIN) Z(T)");
      expect(await client.send(query(READ)).answer()).toBe("E(42501) Z(E)");
      expect(await client.send(query("select 1")).answer()).toBe("E(25P02) Z(E)");
      expect(await client.send(query("rollback")).answer()).toBe("C(ROLLBACK) Z(I)");
    }
  });

  test("what was prepared and described before is known by the catalog of then alone", async () => {
    await cleo.send(parse("s", READ), bindMessage("", "s"), execute, syncMessage).answer();
    await world.database.query(SWAP);
    // Parsed anew, it is described anew.
    cleo.send(parse("", READ), bindMessage("", ""), execute, syncMessage);
    expect(shows(await cleo.until("Z"))).toBe(false);
  });

  test.each([
    ["simple", (sql: string) => [query(sql)]],
    ["extended", (sql: string) => [parse("", sql), bindMessage("", ""), execute, syncMessage]],
    ["described", (sql: string) => [parse("", sql), bindMessage("", ""), portal, execute, syncMessage]],
  ])("a new column does not show where the policy masks what it does not know (%s)", async (_, messages) => {
    await world.database.query(ADD);
    for (const client of [anna, cleo]) {
      const answers: string[] = [];
      for (const sql of [
        "select secret from notes",
        "select * from notes",
        "select n.* from notes n, lateral (select 1) x",
        "table notes",
        "select n from notes n",
        "select row_to_json(n) from notes n",
        "select x.* from (select * from notes) x natural join vault",
        "insert into notes values (2, 'b') returning *",
        "insert into notes values (2, 'b') returning secret",
        "update notes n set body = 'c' returning n.*",
        "copy (select * from notes) to stdout",
      ]) {
        const seen = await client.send(...messages(sql)).until("Z");
        expect(shows(seen), sql).toBe(false);
        answers.push(shortOf(seen).replace(/^1 2 /, ""));
      }
      expect(answers[1]).toMatch(/D\(1,(a note|c)\)/);
      expect(answers[7]).toContain("D(2,b)");
      expect(answers[8]).toMatch(/^(T\(secret\) )?E\(42501\) Z\(I\)$/);
    }
    expect(shows(await cleo.send(query("copy notes to stdout")).until("Z"))).toBe(false);
    expect(shows(await anna.send(query("copy notes to stdout")).until("Z"))).toBe(false);
  });

  test.each([
    ["simple", (sql: string) => [query(sql)]],
    ["extended", (sql: string) => [parse("", sql), bindMessage("", ""), execute, syncMessage]],
    ["described", (sql: string) => [parse("", sql), bindMessage("", ""), portal, execute, syncMessage]],
  ])("a write whose rows do not fit is undone (%s)", async (_, messages) => {
    await world.database.query(ADD);
    for (const client of [anna, cleo]) {
      const answer = await client
        .send(...messages("insert into notes (id) values (77) returning secret"))
        .answer();
      expect(answer).toContain("E(42501)");
    }
    const { rows } = await world.database.query("select from notes where id = 77");
    expect(rows).toEqual([]);
  });

  test("columns that took each other's name, and a table that was made anew", async () => {
    await world.database.query(`
      CREATE TABLE pair (open text, shut text); INSERT INTO pair VALUES ('open', 'CANARY');
      GRANT SELECT ON pair TO PUBLIC`);
    const policy = POLICY.replace(
      "  public.notes:",
      "  public.pair: { columns: { open: plain, shut: body } }\n  public.notes:",
    );
    const fresh = await startProxy(world.database, { policy });
    const live = await fresh.catalogs.of(world.database.database);
    Object.assign(live, { watch: () => () => {}, lookAgain: () => undefined, recent: async () => {} });
    const client = await fresh.raw("cleo");
    await world.database.query(`
      ALTER TABLE pair RENAME open TO spare; ALTER TABLE pair RENAME shut TO open; ALTER TABLE pair RENAME spare TO shut`);
    expect(await client.send(query("select open from pair")).answer()).toBe("E(42501) Z(I)");
    await world.database.query("DROP TABLE pair; CREATE TABLE pair AS SELECT 'CANARY' AS open, 'x' AS shut");
    await world.database.query("GRANT SELECT ON pair TO PUBLIC");
    expect(await client.send(query("select open from pair")).answer()).toBe("E(42501) Z(I)");
    client.socket.destroy();
    await fresh.close();
    await world.database.query("DROP TABLE pair");
  });
});

test("a statement that is executed without Describe is described once, by the proxy alone", async () => {
  const tap = await openTap(world.database.port);
  const uri = world.database.uri.replace(`:${world.database.port}/`, `:${tap.port}/`);
  const sluice = await startProxy({ ...world.database, uri, port: tap.port }, { policy: POLICY });
  // The catalog's connection comes first: it is not counted.
  await sluice.catalogs.of(world.database.database);
  const client = await sluice.raw("cleo");
  const steps = [bindMessage("", "s"), executeMessage("", 0), syncMessage];
  const asked = steps.reduce((sum, { length }) => sum + length, 0);
  expect(await client.send(parse("s", "select body from notes"), syncMessage).answer()).toBe("1 Z(I)");
  const sent: number[] = [];
  for (let i = 0; i < 4; i++) {
    const before = tap.sentBySession();
    expect(await client.send(...steps).answer()).toBe("2 D(a note) C(SELECT 1) Z(I)");
    sent.push(tap.sentBySession() - before);
  }
  expect(sent).toEqual([asked + describeMessage({ target: "portal", name: "" }).length, asked, asked, asked]);
  client.socket.destroy();
  await sluice.close();
  await tap.close();
});

/** Stands between the proxy and the server, and counts what the connection that was opened last has sent. */
async function openTap(target: number) {
  const sockets = new Set<Socket>();
  let sent = 0;
  const server = createServer((client) => {
    const upstream = connect({ host: "127.0.0.1", port: target });
    sent = 0;
    const last = ++opened;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => socket.destroy());
    }
    client.on("data", ({ length }: Buffer) => {
      if (last === opened) sent += length;
    });
    client.pipe(upstream);
    upstream.pipe(client);
  });
  let opened = 0;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    sentBySession: () => sent,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

describe("while somebody watches", () => {
  async function every(client: pg.Client, sql: string, until: Promise<unknown>): Promise<readonly unknown[]> {
    const seen: unknown[] = [];
    let isOver = false;
    void until.then(() => {
      isOver = true;
    });
    while (!isOver) {
      const result = await client.query(sql).catch((error: pg.DatabaseError) => ({ rows: [error.code] }));
      seen.push(...result.rows);
    }
    return seen;
  }

  test.each([
    ["a view made anew", "select body from shown", REMAKE],
    [
      "a table made anew",
      "select * from notes",
      "DROP TABLE notes CASCADE; CREATE TABLE notes AS SELECT 1 AS id, '' AS body, 'CANARY'::text AS secret; GRANT SELECT ON notes TO PUBLIC",
    ],
    ["a new column", "select * from notes", ADD],
    ["a new column by its name", "select secret from notes", ADD],
  ])("%s shows nothing at any moment", async (_, sql, ddl) => {
    const client = await world.sluice.connect("cleo");
    const live = await world.sluice.catalogs.of(world.database.database);
    const before = await live.refresh();
    const changed = world.database
      .query(ddl)
      .then(() => expect.poll(() => live.current, { timeout: 10_000 }).not.toBe(before));
    const seen = await every(client, sql, changed);
    expect(JSON.stringify(seen)).not.toContain("CANARY");
    expect(JSON.stringify((await client.query(sql)).rows)).toMatch(/masked|redacted|null|a note/);
    await client.end();
  });

  test("a view that shows another table is masked within a second or so", async () => {
    const client = await world.sluice.connect("cleo");
    const live = await world.sluice.catalogs.of(world.database.database);
    await live.refresh();
    expect((await client.query("select body from shown")).rows).toEqual([{ body: "a note" }]);
    await world.database.query("CREATE OR REPLACE VIEW shown AS SELECT id, body FROM vault");
    const at = performance.now();
    await expect
      .poll(async () => (await client.query("select body from shown")).rows[0]?.body)
      .not.toBe("CANARY");
    expect(performance.now() - at).toBeLessThan(5_000);
    await client.end();
  });

  test("a row held back makes the catalog fresh: the next try gives what the role may see", async () => {
    const sluice = await startProxy(world.database, { policy: POLICY });
    const client = await sluice.connect("cleo");
    await world.database.query(REMAKE);
    const first = await client.query("select body from shown").catch((error: pg.DatabaseError) => error);
    if (first instanceof Error) expect((first as pg.DatabaseError).hint).toContain("run the statement again");
    expect((await client.query("select body from shown")).rows).toEqual([{ body: "masked" }]);
    await client.end();
    await sluice.close();
  });

  test.each([
    ["relation", "select count(*)::int as n from brand_new", [{ n: 0 }]],
    ["column", "select id::int, hue from vault order by hue", [{ id: 1, hue: null }]],
    ["column of an alias", "select v.hue from vault v where v.hue is null", [{ hue: null }]],
  ])("a %s that was made just now is there", async (_, sql, rows) => {
    const sluice = await startProxy(world.database, { policy: POLICY });
    const client = await sluice.connect("cleo");
    await client.query("select 1");
    await world.database.query(`
      CREATE TABLE IF NOT EXISTS brand_new (id bigint); GRANT SELECT ON brand_new TO PUBLIC;
      ALTER TABLE vault ADD COLUMN hue text DEFAULT 'red'`);
    expect((await client.query(sql)).rows).toEqual(rows);
    await client.end();
    await sluice.close();
    await world.database.query("DROP TABLE brand_new");
  });
});
