import pg from "pg";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { since } from "../harness/postgres-versions.ts";
import { makeWorld, type World } from "../session/world.ts";

/* What a client's startup packet says of settings holds for its session, on whichever connection its transactions run. */

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { pool: { size: 2 } });
});
afterAll(() => world?.close());

const WHO = "helpdesk_app";

async function connect(options: string, more: pg.ClientConfig = {}): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: world.sluice.uri(WHO), options, ...more });
  await client.connect();
  onTestFinished(() => client.end().catch(() => undefined));
  return client;
}

async function ask(client: pg.Client, sql: string): Promise<unknown> {
  const results = await client.query({ text: sql, rowMode: "array" });
  const last = Array.isArray(results) ? results.at(-1) : results;
  return last.rows[0]?.[0];
}

/** Logins at the server that the pool has made so far. */
async function logins(): Promise<number> {
  await world.database.query("SELECT pg_stat_clear_snapshot()");
  const { rows } = await world.database.query<{ sessions: string }>(
    "SELECT sessions FROM pg_stat_database WHERE datname = current_database()",
  );
  return Number(rows[0]?.sessions);
}

/** So many transactions of each client, one after the other; gives the longest that any had to wait. */
async function loop(
  clients: readonly pg.Client[],
  rounds: number,
  sql: string,
  expected: (at: number) => unknown,
) {
  let longest = 0;
  await Promise.all(
    clients.map(async (client, at) => {
      for (let round = 0; round < rounds; round++) {
        const start = performance.now();
        expect(await ask(client, sql)).toBe(expected(at));
        longest = Math.max(longest, performance.now() - start);
      }
    }),
  );
  return longest;
}

describe("more kinds of settings than places", () => {
  // Postgres 13 does not count its sessions.
  test.runIf(since(14))("what SET can set is carried: nobody logs in again for it", async () => {
    const clients = await Promise.all(
      Array.from({ length: 5 }, (_, n) =>
        connect(`-c statement_timeout=${30_001 + n} -c TimeZone=Etc/GMT+${n}`),
      ),
    );
    const before = await logins();
    await loop(clients, 40, "SELECT current_setting('statement_timeout')", (at) => `${30_001 + at}ms`);
    expect(await ask(clients[3] as pg.Client, "SHOW TimeZone")).toBe("Etc/GMT+3");
    expect((await logins()) - before).toBeLessThanOrEqual(2);
    expect(world.sluice.pools()[0]?.servers.length).toBeLessThanOrEqual(2);
  });

  test("what only a startup packet can say has connections of its own, and every client gets a turn", async () => {
    const clients = await Promise.all(Array.from({ length: 5 }, (_, n) => connect(`-c app.tenant=t${n}`)));
    const longest = await loop(clients, 15, "SELECT current_setting('app.tenant')", (at) => `t${at}`);
    // Five kinds on two places: each place changes hands after a quarter of a second.
    expect(longest).toBeLessThan(15_000);
    expect(await ask(clients[0] as pg.Client, "SELECT current_setting('app.other', true) IS NULL")).toBe(
      true,
    );
  });

  test("a client of the usual kind is not held up behind them", async () => {
    const odd = await Promise.all(Array.from({ length: 3 }, (_, n) => connect(`-c app.tenant=u${n}`)));
    const usual = await connect("");
    await loop([...odd, usual], 10, "SELECT 1", () => 1);
  });
});

describe("RESET gives back what the startup packet said", () => {
  const OPTIONS = "-c statement_timeout=77s -c TimeZone=Asia/Tokyo -c work_mem=6MB -c search_path=pg_catalog";
  const ALL = `SELECT concat_ws('|', current_setting('application_name'), current_setting('statement_timeout'),
    current_setting('TimeZone'), current_setting('work_mem'), current_setting('search_path'))`;
  const SAID = "probe|77s|Asia/Tokyo|6MB|pg_catalog";

  test.each([
    ["RESET ALL", "RESET ALL"],
    [
      "RESET of each",
      "RESET application_name; RESET statement_timeout; RESET TimeZone; RESET work_mem; RESET search_path",
    ],
    [
      "SET TO DEFAULT",
      "SET application_name TO DEFAULT; SET TimeZone = DEFAULT; SET work_mem TO DEFAULT; SET statement_timeout TO DEFAULT; SET search_path TO DEFAULT",
    ],
    ["SET TIME ZONE DEFAULT", "SET TIME ZONE DEFAULT"],
    ["DISCARD ALL", "DISCARD ALL"],
    ["the reset of asyncpg", "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;"],
    ["set_config with NULL", "SELECT set_config('work_mem', NULL, false)"],
  ])("%s", async (_, sql) => {
    const [client, other] = [await connect(OPTIONS, { application_name: "probe" }), await connect("")];
    expect(await ask(client, ALL)).toBe(SAID);
    for (const change of [
      "SELECT 1",
      "SET work_mem = '7MB'; SET application_name = 'else'; SET TimeZone = 'UTC'",
    ]) {
      await client.query(change);
      await client.query("RESET work_mem; RESET application_name; RESET TimeZone");
      await client.query(sql);
      expect(await ask(client, ALL)).toBe(SAID);
    }
    expect(await ask(other, "SHOW statement_timeout")).toBe("0");
    expect(await ask(other, "SHOW TimeZone")).not.toBe("Asia/Tokyo");
  });

  test("inside a transaction, and a rollback takes it back", async () => {
    const client = await connect(OPTIONS, { application_name: "probe" });
    await client.query("SET work_mem = '9MB'");
    await client.query("BEGIN");
    await client.query("RESET ALL");
    expect(await ask(client, ALL)).toBe(SAID);
    await client.query("ROLLBACK");
    expect(await ask(client, "SHOW work_mem")).toBe("9MB");
    await client.query("BEGIN");
    await client.query("RESET work_mem");
    await client.query("COMMIT");
    expect(await ask(client, ALL)).toBe(SAID);
  });

  test("by the extended protocol, and what is set beside it stays", async () => {
    const client = await connect(OPTIONS, { application_name: "probe" });
    await client.query({ text: "SET work_mem = '9MB'" });
    await client.query({ name: "reset", text: "RESET ALL", values: [] });
    expect(await ask(client, ALL)).toBe(SAID);
    await client.query("RESET ALL; SET work_mem = '5MB'");
    expect(await ask(client, "SHOW work_mem")).toBe("5MB");
    expect(await ask(client, "SHOW application_name")).toBe("probe");
  });

  test("and the client is told of what it reports", async () => {
    const client = await connect(OPTIONS, { application_name: "probe" });
    const told = new Map<string, string>();
    client.connection.on("parameterStatus", ({ parameterName, parameterValue }) =>
      told.set(parameterName, parameterValue),
    );
    await client.query("SET TimeZone = 'UTC'");
    expect(told.get("TimeZone")).toBe("UTC");
    await client.query("RESET TimeZone");
    await client.query("SELECT 1");
    expect(told.get("TimeZone")).toBe("Asia/Tokyo");
  });
});

test.each([
  [
    "a value that is none",
    "-c statement_timeout=soon",
    "22023",
    /invalid value for parameter "statement_timeout"/,
  ],
  ["a setting that is none", "-c no_such_setting=1", "42704", /unrecognized configuration parameter/],
])("%s ends the login in the server's words", async (_, options, code, message) => {
  const client = new pg.Client({ connectionString: world.sluice.uri(WHO), options });
  await expect(client.connect()).rejects.toMatchObject({
    code,
    severity: "FATAL",
    message: expect.stringMatching(message),
  });
  // The connection on which that was tried is as good as before.
  expect(await ask(await connect(""), "SELECT 1")).toBe(1);
});

test.runIf(since(14))(
  "idle_session_timeout of a client, or of the role, ends no connection that is idle in the pool",
  async () => {
    await world.database.query("ALTER ROLE postgres SET idle_session_timeout = '300ms'");
    const client = await connect("-c idle_session_timeout=50");
    expect(await ask(client, "SHOW idle_session_timeout")).toBe("0");
    await client.query("SET idle_session_timeout = '50ms'");
    const pid = await ask(client, "SELECT pg_backend_pid()");
    await world.database.query("SELECT pg_sleep(0.5)");
    expect(await ask(client, "SELECT pg_backend_pid()")).toBe(pid);
    await world.database.query("ALTER ROLE postgres RESET idle_session_timeout");
  },
);
