import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import {
  bindMessage,
  copyFailMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { psql } from "../harness/postgres.ts";
import type { Raw } from "../harness/raw-client.ts";
import { bindTexts } from "../harness/raw-client.ts";
import { startRelay as startLogins } from "../server/relay.ts";
import { makeWorld, type World } from "../session/world.ts";

/** Code that hides behind names: a function, a trigger and a view, each of which leaves something in its session. */
const SCHEMA = `
  CREATE FUNCTION leave_all() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('work_mem', '7MB', false), pg_advisory_lock(7);
    CREATE TEMP TABLE left_behind (secret text);
    EXECUTE 'PREPARE left_plan AS SELECT 7'; EXECUTE 'LISTEN left_channel';
    EXECUTE 'SET ROLE ben';
    RETURN 1; END $$;
  CREATE TABLE trapped (id serial, note text);
  CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('work_mem', '9MB', false), pg_advisory_lock(9); RETURN NEW; END $$;
  CREATE TRIGGER trap BEFORE INSERT ON trapped FOR EACH ROW EXECUTE FUNCTION trap();
  CREATE FUNCTION peek() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('work_mem', '11MB', false), pg_advisory_lock(11); RETURN 1; END $$;
  CREATE VIEW peeking AS SELECT peek() AS one;
  CREATE TABLE plain (id int PRIMARY KEY, note text);
  CREATE FUNCTION leaving(plain) RETURNS int LANGUAGE sql AS 'SELECT leave_all()';
  INSERT INTO plain VALUES (1, 'x');
  CREATE DOMAIN checked AS int CHECK (peek() = VALUE);
  CREATE SEQUENCE numbers;
  GRANT ALL ON ALL TABLES IN SCHEMA public TO ben;`;

let world: World;
let direct: pg.Client;
/** With one server connection whatever is left on it is there for the next client. */
beforeAll(async () => {
  world = await makeWorld("npm", { pool: { size: 1 } });
  await world.database.query(SCHEMA);
  direct = new pg.Client({ connectionString: world.database.uri });
  await direct.connect();
});
afterAll(async () => {
  await direct?.end();
  await world?.close();
});
beforeEach(() => world.database.query("SELECT pg_advisory_unlock_all()"));

const WHO = "helpdesk_app";

async function withClients(work: (one: pg.Client, other: pg.Client) => Promise<void>): Promise<void> {
  const clients = [await world.sluice.connect(WHO), await world.sluice.connect(WHO)] as const;
  try {
    await work(...clients);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** An unnamed statement whose one parameter is declared to be of a type. */
function typedParse(text: string, type: number): Buffer {
  const types = Buffer.alloc(6);
  types.writeUInt16BE(1);
  types.writeUInt32BE(type, 2);
  return message(Frontend.Parse, Buffer.from(`\0${text}\0`), types);
}

async function ask(client: pg.Client, sql: string): Promise<unknown> {
  const { rows } = await client.query({ text: sql, rowMode: "array" });
  return rows[0]?.[0];
}

const FOUND = `SELECT concat_ws(' ', current_setting('work_mem'), current_user, to_regclass('left_behind'),
  (SELECT string_agg(name, ',') FROM pg_prepared_statements WHERE name NOT LIKE 'sluice%'),
  (SELECT string_agg(x, ',') FROM pg_listening_channels() x),
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()))`;

describe("what one client's transaction leaves, the next client on the connection does not find", () => {
  test.each([
    ["a function of the database's own", "SELECT leave_all()"],
    ["a trigger", "INSERT INTO trapped (note) VALUES ('x')"],
    ["a view", "SELECT * FROM peeking"],
    ["a function that is written as a column", "SELECT p.leaving FROM plain p"],
    ["a domain", "SELECT 1::checked"],
    ["DO", "DO $$ BEGIN PERFORM leave_all(); END $$"],
    [
      "a statement that no parser of ours reads",
      "SELECT leave_all() /* */ ;;; SELECT 1; CREATE PUBLICATION p FOR NOTHING AT ALL",
    ],
    ["COPY into a table with a trigger", "COPY trapped (note) FROM PROGRAM 'echo x'"],
    ["EXPLAIN ANALYZE", "EXPLAIN ANALYZE SELECT leave_all()"],
    ["a cursor", "BEGIN; DECLARE c CURSOR FOR SELECT leave_all(); FETCH 1 FROM c; COMMIT"],
    ["a common table expression", "WITH x AS (INSERT INTO trapped (note) VALUES ('x') RETURNING 1) TABLE x"],
  ])("of %s", async (_, sql) => {
    await withClients(async (one, other) => {
      const clean = await ask(other, FOUND);
      await one.query(sql).catch(() => undefined);
      expect(await ask(other, FOUND)).toBe(clean);
      expect(await ask(direct, "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'")).toBe(0);
    });
  });

  test("of the condition of a domain, by a parameter that is declared to be of it, and executed by nothing", async () => {
    const domain = Number(await ask(direct, "SELECT 'checked'::regtype::oid"));
    const other = await world.sluice.connect(WHO);
    const clean = await ask(other, FOUND);
    const raw = await world.sluice.raw(WHO);
    raw.send(typedParse("SELECT $1", domain), bindTexts("", ["11"]), syncMessage);
    const answers = (await raw.until("Z")).map(({ type }) => type);
    // The domain's function has run, which gives 1.
    expect(answers).toContain("E");
    raw.send(typedParse("SELECT $1", domain), bindTexts("", ["1"]), syncMessage);
    await raw.until("Z");
    expect(await ask(other, FOUND)).toBe(clean);
    await other.end();
    raw.socket.destroy();
  });

  test("of a cast between Postgres's own types", async () => {
    const own = await makeWorld("npm", { pool: { size: 1 } });
    await own.database.query(`
      CREATE FUNCTION small(boolean) RETURNS smallint LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('work_mem', '12MB', false), pg_advisory_lock(12); RETURN 1; END $$;
      CREATE CAST (boolean AS smallint) WITH FUNCTION small(boolean) AS ASSIGNMENT;`);
    const clients = [await own.sluice.connect(WHO), await own.sluice.connect(WHO)] as const;
    const clean = await ask(clients[1], FOUND);
    await clients[0].query("SELECT true::smallint");
    expect(await ask(clients[1], FOUND)).toBe(clean);
    for (const client of clients) await client.end();
    await own.close();
  });

  test("a failed transaction does not fail the next client's", async () => {
    await withClients(async (one, other) => {
      await one.query("BEGIN");
      await expect(one.query("SELECT 1/0")).rejects.toThrow(/division/);
      const waiting = other.query("SELECT 1 AS one");
      await one.query("ROLLBACK");
      expect((await waiting).rows).toEqual([{ one: 1 }]);
    });
  });

  test("a sequence's last value is not another client's", async () => {
    await withClients(async (one, other) => {
      await one.query("SELECT nextval('numbers')");
      await expect(other.query("SELECT lastval()")).rejects.toThrow(/lastval is not yet defined/);
    });
  });
});

describe("what cannot be carried is refused, and says what to do instead", () => {
  test.each([
    ["LISTEN news", /LISTEN is not possible with --pool transaction/],
    ["SELECT pg_advisory_lock(1)", /pg_advisory_xact_lock/],
    [
      "SELECT count(*) FROM tickets WHERE pg_try_advisory_lock_shared(id)",
      /pg_try_advisory_xact_lock_shared/,
    ],
    ["CREATE TEMP TABLE t (id int)", /ON COMMIT DROP/],
    ["CREATE TABLE pg_temp.t (id int)", /ON COMMIT DROP/],
    ["CREATE TEMP TABLE t AS SELECT 1", /ON COMMIT DROP/],
    ["SELECT 1 INTO TEMP t", /ON COMMIT DROP/],
    ["CREATE TEMP VIEW v AS SELECT 1", /ON COMMIT DROP/],
    ["DECLARE c CURSOR WITH HOLD FOR SELECT 1", /WITH HOLD/],
    ["PREPARE p AS SELECT 1", /protocol/],
    ["EXECUTE p", /protocol/],
    ["EXPLAIN EXECUTE p", /protocol/],
    ["LOAD 'auto_explain'", /session_preload_libraries/],
    ["SET SESSION AUTHORIZATION ben", /SET LOCAL ROLE/],
    ["SET ROLE ben", /SET LOCAL ROLE/],
    ["SELECT set_config('role', 'ben', false)", /SET LOCAL ROLE/],
    ["SELECT set_config(status, 'x', false) FROM tickets", /constant/],
    ["SET search_path TO pg_temp, public", /SET LOCAL/],
    ["SET client_encoding TO 'LATIN1'", /stays utf8/],
    ["SET standard_conforming_strings TO off", /on/],
    ["SET LOCAL standard_conforming_strings TO off", /on/],
    ["SELECT setseed(0.5)", /past the pool/],
    ["SELECT 1; LISTEN news", /LISTEN/],
  ])("%s", async (sql, hint) => {
    await withClients(async (one) => {
      const failure = await one.query(sql).then(
        () => undefined,
        (error: pg.DatabaseError) => error,
      );
      expect(failure).toMatchObject({ code: "42501" });
      expect(`${failure?.message} ${failure?.hint}`).toMatch(hint);
      expect(await ask(one, "SELECT 1")).toBe(1);
      await expect(one.query({ name: "x", text: sql })).rejects.toThrow(
        /--pool transaction|cannot insert multiple/,
      );
    });
  });

  test("but settings that stay are set to what they are, however that is written", async () => {
    await withClients(async (one) => {
      await one.query("SET NAMES 'utf_8'; SET standard_conforming_strings TO tru");
      expect(await ask(one, "SHOW client_encoding")).toBe("UTF8");
    });
  });

  test("a refusal fails the transaction it stands in", async () => {
    await withClients(async (one) => {
      await one.query("BEGIN");
      await expect(one.query("LISTEN news")).rejects.toThrow(/LISTEN/);
      await expect(one.query("SELECT 1")).rejects.toThrow(/transaction is aborted/);
      expect((await one.query("COMMIT")).command).toBe("ROLLBACK");
    });
  });
});

describe("each client keeps its own", () => {
  test("settings, also those that a rollback took back", async () => {
    await withClients(async (one, other) => {
      await one.query("SET work_mem TO '5MB'; SET app.tenant TO 'it''s \\ é'");
      await one.query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY");
      await other.query("SET TIME ZONE 'Asia/Tokyo'");
      await one.query(
        "BEGIN; SET work_mem TO '6MB'; SAVEPOINT a; SET DateStyle TO German; ROLLBACK TO a; COMMIT",
      );
      await one.query("BEGIN; SET IntervalStyle TO iso_8601; ROLLBACK");
      await one.query("SELECT set_config('search_path', 'nowhere', false)");
      const ofOne = `SELECT concat_ws('|', current_setting('work_mem'), current_setting('app.tenant', true),
        current_setting('TimeZone'), current_setting('DateStyle'), current_setting('IntervalStyle'),
        current_setting('search_path'), current_setting('transaction_read_only'))`;
      const zone = await ask(direct, "SHOW TimeZone");
      expect(await ask(one, ofOne)).toBe(`6MB|it's \\ é|${zone}|ISO, MDY|postgres|nowhere|on`);
      expect(await ask(other, ofOne)).toBe(`4MB||Asia/Tokyo|ISO, MDY|postgres|"$user", public|off`);
      await one.query("RESET ALL");
      await other.query("SELECT 1");
      expect(await ask(one, ofOne)).toBe(`4MB||${zone}|ISO, MDY|postgres|"$user", public|off`);
    });
  });

  test("SET ROLE NONE, which is no other user's", async () => {
    await withClients(async (one, other) => {
      await one.query("SET ROLE NONE");
      await other.query("SET SESSION AUTHORIZATION DEFAULT");
      for (const client of [one, other]) expect(await ask(client, "SHOW role")).toBe("none");
    });
  });

  test("the application's name", async () => {
    const uri = `${world.sluice.uri(WHO)}&application_name=`;
    const clients = ["one", "two"].map((name) => new pg.Client({ connectionString: uri + name }));
    for (const client of clients) await client.connect();
    for (let i = 0; i < 2; i++) {
      for (const [at, client] of clients.entries()) {
        expect(await ask(client, "SHOW application_name")).toBe(["one", "two"][at]);
      }
    }
    for (const client of clients) await client.end();
  });

  test("prepared statements, by the names of its own", async () => {
    await withClients(async (one, other) => {
      const named = (client: pg.Client, text: string, values: unknown[]) =>
        client.query({ name: "same", text, values, rowMode: "array" });
      for (let i = 0; i < 3; i++) {
        expect((await named(one, "SELECT $1::int + 1", [i])).rows).toEqual([[i + 1]]);
        expect((await named(other, "SELECT $1::text || '!'", ["a"])).rows).toEqual([["a!"]]);
      }
      await one.query("DEALLOCATE same");
      await expect(one.query("DEALLOCATE same")).rejects.toThrow(/does not exist/);
      expect((await named(other, "SELECT $1::text || '!'", ["b"])).rows).toEqual([["b!"]]);
    });
  });

  test("DEALLOCATE of its own by the extended protocol, as psycopg sends it", async () => {
    await withClients(async (one, other) => {
      for (const client of [one, other]) await client.query({ name: "same", text: "SELECT 1 AS a" });
      const forget = { name: "", text: 'DEALLOCATE "same"', queryMode: "extended" };
      expect((await one.query(forget)).command).toBe("DEALLOCATE");
      await expect(one.query(forget)).rejects.toMatchObject({ code: "26000" });
      await expect(one.query('EXPLAIN EXECUTE "same"')).rejects.toThrow();
      expect((await other.query({ name: "same", text: "SELECT 1 AS a" })).rows).toEqual([{ a: 1 }]);
      expect((await other.query({ name: "forget", text: "DEALLOCATE same" })).command).toBe("DEALLOCATE");
      // A client that was told so prepares anew, under the same name.
      await one.query("BEGIN");
      expect((await one.query({ name: "again", text: "SELECT 2 AS b" })).rows).toEqual([{ b: 2 }]);
      expect((await one.query({ name: "forget again", text: "DEALLOCATE again" })).command).toBe(
        "DEALLOCATE",
      );
      await one.query("COMMIT");
      await expect(one.query("DEALLOCATE again")).rejects.toMatchObject({ code: "26000" });
    });
  });

  test("what it prepared, when the table has another column since", async () => {
    await world.database.query("CREATE TABLE IF NOT EXISTS growing AS SELECT 1 AS a");
    await withClients(async (one, other) => {
      const all = (client: pg.Client, name: string) =>
        client.query({ name, text: "SELECT * FROM growing", rowMode: "array" });
      await all(one, "before");
      await world.database.query("ALTER TABLE growing ADD b int DEFAULT 2");
      await expect(all(one, "before")).rejects.toThrow(/cached plan must not change result type/);
      expect((await all(other, "after")).rows).toEqual([[1, 2]]);
      expect((await all(one, "after")).rows).toEqual([[1, 2]]);
    });
  });

  test("the masks of its role: two users never share a connection", async () => {
    const app = await world.sluice.connect(WHO);
    const anna = await world.sluice.connect("anna");
    const pids = [await ask(app, "SELECT pg_backend_pid()"), await ask(anna, "SELECT pg_backend_pid()")];
    expect(new Set(pids).size).toBe(2);
    expect(await ask(anna, "SELECT current_setting('server_version_num')::int > 0")).toBe(true);
    for (let i = 0; i < 3; i++) {
      const { rows } = await anna.query({
        name: "look",
        text: "SELECT email FROM customers WHERE id = $1",
        values: [1],
      });
      expect(rows[0]?.email).toMatch(/^.\*\*\*@example.com$/);
      expect(await ask(app, "SELECT email FROM customers WHERE id = 1")).toMatch(
        /^[a-z.]+\.\d+@example.com$/,
      );
    }
    await app.end();
    await anna.end();
  });
});

describe("a client that goes in the middle of things leaves nothing open", () => {
  const begin = queryMessage(Buffer.from("BEGIN; INSERT INTO plain VALUES (900001, 'x')"));
  const copy = queryMessage(Buffer.from("COPY plain FROM STDIN"));
  const insert = Buffer.from("INSERT INTO plain VALUES (900001, 'x')");
  const partOfCopy = message(Frontend.CopyData, Buffer.from("900001\tx\n"));
  test.each<[string, (raw: Raw) => Promise<void>]>([
    ["a transaction", async (raw) => void (await raw.send(begin).until("Z"))],
    ["COPY", async (raw) => void (await raw.send(copy, partOfCopy).until("G"))],
    ["half a row of COPY", async (raw) => void (await raw.send(copy, partOfCopy.subarray(0, 9)).until("G"))],
    [
      "a pipeline without Sync",
      async (raw) =>
        void (await raw
          .send(parseMessage("", insert), bindMessage("", ""), executeMessage("", 0), message(Frontend.Flush))
          .until("C")),
    ],
    [
      "a failed pipeline without Sync",
      async (raw) => void (await raw.send(bindMessage("", "none"), message(Frontend.Flush)).until("E")),
    ],
    [
      "COPY out",
      async (raw) =>
        void (await raw
          .send(
            queryMessage(
              Buffer.from("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT"),
            ),
          )
          .until("d")),
    ],
    ["a statement", async (raw) => void raw.send(begin, queryMessage(Buffer.from("SELECT pg_sleep(0.3)")))],
  ])("of %s", async (_, leaveIn) => {
    const raw = await world.sluice.raw(WHO);
    await leaveIn(raw);
    raw.socket.destroy();
    const next = await world.sluice.connect(WHO);
    expect(await ask(next, "SELECT count(*)::int FROM plain WHERE id = 900001")).toBe(0);
    await next.query("BEGIN; COMMIT");
    await next.end();
    const open =
      "SELECT count(*)::int FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()";
    await vi.waitUntil(async () => (await ask(direct, open)) === 0);
  });

  test("nor does a COPY that fails in the middle of a long row spoil the next client's", async () => {
    const raw = await world.sluice.raw(WHO);
    const long = message(Frontend.CopyData, Buffer.from(`x\t${"y".repeat(200_000)}\n`));
    await raw.send(copy).until("G");
    raw.send(message(Frontend.CopyData, Buffer.from("no number\t1\n")), long.subarray(0, 100_000));
    await raw.until("Z");
    const other = await world.sluice.connect(WHO);
    const waiting = ask(other, "SELECT 1");
    raw.send(long.subarray(100_000), copyFailMessage("done"), queryMessage(Buffer.from("SELECT 2")));
    expect(await raw.answer()).toBe("T(?column?) D(2) C(SELECT 1) Z(I)");
    expect(await waiting).toBe(1);
    await other.end();
    raw.socket.destroy();
  });
});

describe("the server's own ends", () => {
  test("a connection that dies in a transaction ends its holder's session and nobody else's", async () => {
    await withClients(async (one, other) => {
      await one.query("BEGIN");
      const pid = await ask(one, "SELECT pg_backend_pid()");
      const waiting = ask(other, "SELECT 1");
      await world.database.query("SELECT pg_terminate_backend($1)", [pid]);
      await expect(one.query("SELECT 1")).rejects.toThrow();
      expect(await waiting).toBe(1);
    });
  });

  test("one that dies between transactions is replaced, and nobody notices", async () => {
    await withClients(async (one) => {
      const pid = await ask(one, "SELECT pg_backend_pid()");
      await world.database.query("SELECT pg_terminate_backend($1)", [pid]);
      await vi.waitUntil(() =>
        world.sluice.pools().every(({ user, serversIdle }) => user !== WHO || serversIdle === 0),
      );
      expect(await ask(one, "SELECT 1")).toBe(1);
    });
  });
});

test("a cancel request hits its own client's statement, and never the next one on the connection", async () => {
  await withClients(async (one, other) => {
    const { processID, secretKey } = one as unknown as { processID: number; secretKey: number };
    const request = Buffer.alloc(16);
    request.writeInt32BE(16, 0);
    request.writeInt32BE(80877102, 4);
    request.writeInt32BE(processID, 8);
    request.writeInt32BE(secretKey, 12);
    const cancel = async () => (await world.sluice.bare()).send(request).closed();
    const failure = one.query("SELECT pg_sleep(30)").catch((error: Error) => error.message);
    await vi.waitUntil(
      async () =>
        (await ask(
          direct,
          "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND state = 'active'",
        )) === 1,
    );
    await cancel();
    expect(await failure).toBe("canceling statement due to user request");
    // Between one's short statements the other's run on the same connection; the requests come at any moment.
    let isOver = false;
    const ofOne = (async () => {
      while (!isOver) await one.query("SELECT pg_sleep(0.001)").catch(() => undefined);
    })();
    const ofOther = (async () => {
      for (let i = 0; i < 100; i++) expect(await ask(other, `SELECT ${i}::int FROM pg_sleep(0.001)`)).toBe(i);
      isOver = true;
    })();
    const cancels = (async () => {
      while (!isOver) await cancel();
    })();
    await Promise.all([ofOther, ofOne, cancels]);
  });
});

test("who waits too long is told why", async () => {
  const world = await makeWorld("npm", { pool: { size: 1, waitMs: 200 } });
  try {
    const [one, other] = [await world.sluice.connect(WHO), await world.sluice.connect(WHO)];
    await one.query("BEGIN");
    await expect(other.query("SELECT 1")).rejects.toMatchObject({
      code: "53300",
      hint: expect.stringContaining("--pool-size"),
    });
    await one.query("COMMIT");
    expect(await ask(one, "SELECT 1")).toBe(1);
    await one.end();
  } finally {
    await world.close();
  }
});

test("fifty clients share three connections, psql among them", async () => {
  const world = await makeWorld("npm", { pool: { size: 3 } });
  try {
    const clients = await Promise.all(Array.from({ length: 50 }, () => world.sluice.connect(WHO)));
    await Promise.all(
      clients.map(async (client, i) => {
        for (let round = 0; round < 4; round++) {
          await client.query("BEGIN");
          await client.query({ name: `of ${i % 7}`, text: `SELECT $1::int * ${i % 7}`, values: [round] });
          await client.query(`SET LOCAL app.me TO '${i}'`);
          expect(await ask(client, "SELECT current_setting('app.me')")).toBe(String(i));
          await client.query("COMMIT");
        }
      }),
    );
    const pids = await Promise.all(clients.map((client) => ask(client, "SELECT pg_backend_pid()")));
    expect(new Set(pids).size).toBeLessThanOrEqual(3);
    expect(world.sluice.pools()).toMatchObject([{ user: WHO, clientsWaiting: 0, serversIdle: 3 }]);
    const { stdout } = await psql(["-Atc", "SELECT 41 + 1", "-c", "\\d customers"], {
      uri: world.sluice.uri(WHO),
    });
    expect(stdout).toMatch(/^42\n[\s\S]*email/);
    await Promise.all(clients.map((client) => client.end()));
  } finally {
    await world.close();
  }
});

test("a proxy that has no login of its own does not start with a pool", async () => {
  const upstream = `${world.database.uri}?sslmode=disable`;
  await expect(startLogins({ upstream, settings: { pool: "transaction" } })).rejects.toThrow(/--auth scram/);
});
