import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { createRoles, databaseOn, psql, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { since } from "../harness/postgres-versions.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { POLICY } from "../session/world.ts";

/* What changes at the server is known to whoever comes next, on whichever connection they get. */

let server: RunningPostgres;
let database: TestDatabase;
let sluice: TestProxy;
beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "news");
  sluice = await startProxy(database, { policy: POLICY, pool: { size: 2 } });
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
  await server?.stop();
});

const WHO = "helpdesk_app";

async function client(of: TestProxy = sluice): Promise<pg.Client> {
  const one = await of.connect(WHO);
  onTestFinished(() => one.end().catch(() => undefined));
  return one;
}

/** How a connection dies of which nobody knows: the server never hears of what is sent, or does it, or had ended it before. */
type Death = "unheard" | "answer lost" | "ended by the server";

/** A way to a server that can be made to swallow everything, or to break at what the pool sends next. */
async function way(port: number) {
  const open = new Set<Socket>();
  let isSilent = false;
  const deaths: Death[] = [];
  const die = async (death: Death, near: Socket, far: Socket, bytes: Buffer) => {
    if (death === "answer lost")
      far
        .removeAllListeners("data")
        .once("data", () => near.destroy())
        .write(bytes);
    else if (death === "unheard") near.destroy();
    else
      await database.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port = ${far.localPort}`,
      );
  };
  const listener = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    let isLoggedIn = false;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      from.on("error", () => {}).on("close", () => to.destroy());
      from.on("data", (bytes: Buffer) => {
        const death = from === near && isLoggedIn ? deaths.shift() : undefined;
        // Of its logins only the pool's say for whom they are.
        isLoggedIn ||= from === near && bytes.includes("sluice.user");
        if (death !== undefined) void die(death, near, far, bytes);
        else if (!isSilent) to.write(bytes);
      });
    }
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    listener.close();
  });
  return {
    port: (listener.address() as AddressInfo).port,
    silence() {
      isSilent = true;
    },
    breakBy(...how: readonly Death[]) {
      deaths.push(...how);
    },
  };
}

async function through(ports: readonly number[], query: string, size: number, statementTimeout = 0) {
  const hosts = ports.map((port) => `127.0.0.1:${port}`).join(",");
  const uri = `postgresql://${database.superuser}@${hosts}/${database.database}`;
  const proxy = await startProxy(
    { ...database, uri },
    { policy: POLICY, pool: { size }, upstreamQuery: query, settings: { statementTimeout } },
  );
  onTestFinished(() => proxy.close());
  return proxy;
}

describe("what a user's or a database's sessions begin with is what it is now", () => {
  const MEMORY = "SELECT current_setting('work_mem') AS memory";
  test.each([
    ["ALTER ROLE postgres SET work_mem = '21MB'", "ALTER ROLE postgres RESET ALL"],
    ["ALTER DATABASE DB SET work_mem = '21MB'", "ALTER DATABASE DB RESET ALL"],
    [
      "ALTER ROLE postgres IN DATABASE DB SET work_mem = '21MB'",
      "ALTER ROLE postgres IN DATABASE DB RESET ALL",
    ],
    ["ALTER ROLE ALL SET work_mem = '21MB'", "ALTER ROLE ALL RESET ALL"],
  ])("%s", async (change, back) => {
    const own = await startProxy(database, { policy: POLICY, pool: { size: 2 } });
    onTestFinished(() => own.close());
    const now = async () => {
      const one = await client(own);
      const { rows } = await one.query(MEMORY);
      await one.end();
      return rows[0]?.memory as string;
    };
    // Somebody stays, and with them the connections.
    const staying = await client(own);
    await staying.query("BEGIN");
    expect(await now()).toBe("4MB");
    const run = (text: string) => database.query(text.replaceAll("DB", `"${database.database}"`));
    try {
      await run(change);
      // What the server has said is believed for a second.
      await expect.poll(now).toBe("21MB");
      expect((await staying.query(MEMORY)).rows[0]?.memory).toBe("4MB");
      await staying.query("COMMIT");
    } finally {
      await run(back);
    }
    await expect.poll(now).toBe("4MB");
  });

  test("and a client whose own settings give the question no time logs in all the same", async () => {
    const config = { ...sluice.config(WHO, ""), connectionString: sluice.uri(WHO) };
    const one = new pg.Client({ ...config, options: "-c statement_timeout=1" });
    await one.connect();
    await one.query("SET statement_timeout = 0");
    await one.end();
  });
});

test("where the server takes fewer connections than the pool may have, clients wait for those that there are", async () => {
  await database.query("CREATE ROLE narrow LOGIN CONNECTION LIMIT 2");
  onTestFinished(() => void database.query("DROP ROLE narrow"));
  const uri = `postgresql://narrow@127.0.0.1:${database.port}/${database.database}`;
  const own = await startProxy({ ...database, uri }, { policy: POLICY, pool: { size: 5 } });
  onTestFinished(() => own.close());
  const many = Array.from({ length: 8 }, async (_, place) => {
    for (let round = 0; round < 5; round++) {
      // Settings with a dot cannot be carried: the kinds take each other's places.
      const one = new pg.Client({ connectionString: own.uri(WHO), options: `-c app.kind=${place % 2}` });
      await one.connect();
      for (let i = 0; i < 3; i++) await one.query("SELECT pg_sleep(0.005)");
      await one.end();
    }
  });
  await Promise.all(many);
});

describe("a new client's statement is read as the database is now, whoever has prepared the same text before", () => {
  test.each([
    [
      "a table made anew with another type of its key",
      "CREATE TABLE k (id int PRIMARY KEY, v text); INSERT INTO k VALUES (1, 'old')",
      { text: "SELECT v FROM k WHERE id = $1", before: "1", after: "00000000-0000-0000-0000-000000000001" },
      "DROP TABLE k; CREATE TABLE k (id uuid PRIMARY KEY, v text); INSERT INTO k VALUES ('00000000-0000-0000-0000-000000000001', 'new')",
      [["new"]],
    ],
    [
      "a column that became wider",
      "CREATE TABLE st (a int)",
      { text: "INSERT INTO st VALUES ($1) RETURNING a", before: "1", after: "3000000000" },
      "ALTER TABLE st ALTER a TYPE bigint",
      [["3000000000"]],
    ],
    [
      "an enumeration made anew",
      "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (m mood)",
      { text: "SELECT count(*) FROM t WHERE m = $1", before: "sad", after: "glad" },
      "DROP TABLE t; DROP TYPE mood; CREATE TYPE mood AS ENUM ('glad'); CREATE TABLE t (m mood)",
      [["0"]],
    ],
    [
      "a column more",
      "CREATE TABLE w (a int, b int); INSERT INTO w VALUES (1, 2)",
      { text: "SELECT * FROM w WHERE a = $1", before: "1", after: "1" },
      "ALTER TABLE w ADD c int DEFAULT 3",
      [[1, 2, 3]],
    ],
  ])("%s", async (_, schema, { text, before, after }, change, expected) => {
    await database.query(`${schema}; GRANT ALL ON ALL TABLES IN SCHEMA public TO ${WHO}`);
    const stays = await client();
    // On both connections.
    for (const one of [await client(), await client(), stays]) {
      await one.query("BEGIN");
      await one.query({ name: "mine", text, values: [before] });
      await one.query("COMMIT");
    }
    await database.query(`${change}; GRANT ALL ON ALL TABLES IN SCHEMA public TO ${WHO}`);
    for (let n = 0; n < 3; n++) {
      const later = await client();
      const { rows } = await later.query({ name: "mine", text, values: [after], rowMode: "array" });
      expect(rows).toEqual(expected);
    }
    // Whoever prepared it before that meets an error, as directly, and prepares it anew.
    await stays.query({ name: "mine", text, values: [after] }).catch(() => undefined);
    expect((await stays.query({ name: "again", text, values: [after], rowMode: "array" })).rows).toEqual(
      expected,
    );
  });

  test("a client that fails again and again leaves no statements behind at the server", async () => {
    const one = await client();
    for (let n = 0; n < 300; n++)
      await one.query({ name: `n${n}`, text: "SELECT $1::int", values: ["x"] }).catch(() => undefined);
    const { rows } = await one.query("SELECT count(*)::int AS n FROM pg_prepared_statements");
    expect(rows[0].n).toBeLessThanOrEqual(201);
  });
});

test("what a client is told at its login is what the server says now", async () => {
  const attrs = async (wanted: string) => {
    const options = { uri: sluice.uri(WHO), environment: { PGTARGETSESSIONATTRS: wanted } };
    return (await psql(["-Atc", "SHOW default_transaction_read_only"], options)).stdout;
  };
  const direct = new pg.Client({ connectionString: server.uri });
  await direct.connect();
  expect(await attrs("read-write")).toBe("off\n");
  await direct.query("ALTER SYSTEM SET default_transaction_read_only = on");
  await direct.query("SELECT pg_reload_conf()");
  await expect.poll(() => attrs("read-write")).toBe("");
  expect(await attrs("read-only")).toBe("on\n");
  await direct.query("ALTER SYSTEM RESET default_transaction_read_only");
  await direct.query("SELECT pg_reload_conf()");
  await direct.end();
  await expect.poll(() => attrs("read-write")).toBe("off\n");
});

test("a login that waits for a busy pool is told so, and not that it took too long", async () => {
  const busy = await startProxy(database, {
    policy: POLICY,
    pool: { size: 1 },
    settings: { loginTimeout: 1_500 },
  });
  onTestFinished(() => busy.close());
  const holder = await client(busy);
  await holder.query("BEGIN");
  const other = new pg.Client({ connectionString: busy.uri(WHO), options: "-c TimeZone=Asia/Tokyo" });
  await expect(other.connect()).rejects.toMatchObject({
    code: "53300",
    hint: expect.stringContaining("--pool-size"),
  });
  expect((await holder.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
});

// Postgres 13 ends them, but does not wait until they have ended.
test.runIf(since(14))(
  "connections that the server has ended meanwhile are replaced, and no client notices",
  async () => {
    const [one, two] = [await client(), await client()];
    for (let round = 0; round < 5; round++) {
      await Promise.all([one.query("SELECT pg_sleep(0.05)"), two.query("SELECT pg_sleep(0.05)")]);
      await database.query(
        `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'sluice catalog'`,
      );
      expect((await one.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
      expect((await two.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    }
  },
);

describe("a connection that turns out to be dead at a transaction's first messages", () => {
  test("is replaced where they only read", async () => {
    const road = await way(server.port);
    const one = await client(await through([road.port], "", 1));
    const named = { name: "named", text: "SELECT $1::int AS one", values: [1] };
    // With a connection that is open the way breaks at a statement, and not at a login.
    await one.query(named);
    for (const deaths of [["unheard"], ["answer lost"], ["ended by the server", "unheard"]] as const) {
      for (const query of ["SELECT 1 AS one", named]) {
        road.breakBy(...deaths);
        expect((await one.query(query as string)).rows).toEqual([{ one: 1 }]);
      }
      road.breakBy(...deaths);
      await one.query("BEGIN");
      expect((await one.query("SELECT now() = now() AS same")).rows).toEqual([{ same: true }]);
      await one.query("ROLLBACK");
    }
  });

  test("ends the session where they could have done something, which is not done twice", async () => {
    await database.query("CREATE TABLE once (n int); GRANT ALL ON once TO PUBLIC");
    const road = await way(server.port);
    const proxy = await through([road.port], "", 1);
    let rows = 0;
    for (const [sql, death, done] of [
      ["INSERT INTO once VALUES (1)", "answer lost", 1],
      ["INSERT INTO once VALUES (1)", "ended by the server", 0],
      ["SELECT pg_notify('a', 'b')", "answer lost", 0],
      ["BEGIN; INSERT INTO once VALUES (1); COMMIT", "unheard", 0],
      ["DO 'BEGIN INSERT INTO once VALUES (1); END'", "answer lost", 1],
    ] as const) {
      const one = await client(proxy);
      one.on("error", () => undefined);
      await one.query("SELECT 1");
      road.breakBy(death);
      const code = death === "ended by the server" ? "57P01" : "08006";
      await expect(one.query(sql), sql).rejects.toMatchObject({ code });
      rows += done;
      const count = async () => (await database.query("SELECT count(*)::int AS n FROM once")).rows[0]?.n;
      await expect.poll(count).toBe(rows);
    }
  });
});

test("the connections of a pool that nobody uses keep nobody from dropping the database", async () => {
  const other = await databaseOn(server.uri, "dropped");
  const pooled = await startProxy(other, { policy: POLICY, pool: { size: 2 } });
  onTestFinished(() => pooled.close());
  await (await pooled.connect(WHO)).end();
  const used = await pooled.connect(WHO);
  await used.query("SELECT 1");
  await used.end();
  await expect.poll(() => pooled.pools()[0]?.servers.length).toBe(0);
  await pooled.catalogs.close();
  await other.drop();
});

describe("of several hosts", () => {
  test("one that does not answer costs each client at most one statement, however many connections it had", async () => {
    const [one, two] = [await way(server.port), await way(server.port)];
    const proxy = await through([one.port, two.port], "connect_timeout=2", 8, 1_000);
    const clients = await Promise.all(Array.from({ length: 8 }, () => client(proxy)));
    await Promise.all(clients.map((each) => each.query("SELECT pg_sleep(0.3)")));
    expect(proxy.pools()[0]?.servers.length).toBe(8);
    one.silence();
    await expect(clients[0]?.query("SELECT 1")).rejects.toMatchObject({ code: "08006" });
    // By now the others are known to be as dead.
    await expect.poll(() => proxy.pools()[0]?.servers.length ?? 8).toBeLessThan(8);
    const start = performance.now();
    for (const each of clients.slice(1))
      expect((await each.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    expect(performance.now() - start).toBeLessThan(4_000);
  });

  // From Postgres 14 on a server says by itself that it has become read-only.
  test.runIf(since(14))(
    "one that is not any more what is wanted is left, also by connections that are open",
    async () => {
      const other = await startPostgres({ auth: "trust" });
      onTestFinished(() => other.stop());
      const make = async (uri: string) => {
        const superuser = new pg.Client({ connectionString: uri });
        superuser.on("error", () => undefined);
        await superuser.connect();
        await superuser.query("CREATE TABLE IF NOT EXISTS log (n int)");
        return superuser;
      };
      const [first, second] = [await make(server.uri), await make(other.uri)];
      const probe = async (port: number) => {
        const { rows } = await (port === server.port ? first : second).query(
          "SELECT current_setting('default_transaction_read_only') = 'on' AS ro",
        );
        return { standby: false, readOnly: rows[0].ro as boolean };
      };
      const uri = `postgresql://postgres@127.0.0.1:${server.port},127.0.0.1:${other.port}/postgres`;
      const proxy = await startProxy(
        { ...database, database: "postgres", uri },
        {
          policy: POLICY,
          pool: { size: 3 },
          upstreamQuery: "target_session_attrs=read-write",
          probeHost: ({ port }) => probe(port),
        },
      );
      onTestFinished(() => proxy.close());
      const clients = await Promise.all(Array.from({ length: 3 }, () => client(proxy)));
      await Promise.all(clients.map((each) => each.query("INSERT INTO log SELECT 1 FROM pg_sleep(0.2)")));
      await first.query("ALTER SYSTEM SET default_transaction_read_only = on");
      await first.query("SELECT pg_reload_conf()");
      await expect
        .poll(async () => (await first.query("SHOW default_transaction_read_only")).rows[0])
        .toMatchObject({
          default_transaction_read_only: "on",
        });
      let refused = 0;
      for (let n = 0; n < 40; n++) {
        const one = clients[n % 3];
        await one?.query("INSERT INTO log VALUES (2)").catch((error: pg.DatabaseError) => {
          expect(error.code).toBe("25006");
          refused++;
        });
      }
      // The server sends its error before its report: whoever asks in between may meet another of the old connections.
      expect(refused).toBeLessThanOrEqual(clients.length);
      expect((await second.query("SELECT count(*)::int AS n FROM log WHERE n = 2")).rows[0].n).toBe(
        40 - refused,
      );
      await first.query("ALTER SYSTEM RESET default_transaction_read_only");
      await first.query("SELECT pg_reload_conf()");
      await Promise.all([first.end(), second.end()]);
    },
  );
});
