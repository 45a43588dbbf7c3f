import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Catalogs } from "../../proxy/catalog/catalogs.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { createRoles, psql, startPostgres } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

/* Once the last client of a database has left, Sluice's own connections to it must not block anyone. */

const POLICY = `
version: 1
roles:
  agent: { users: [anna], reads: all, rows: 100 }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

let server: RunningPostgres;
let sluice: TestSluice;
beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  await direct("ALTER ROLE helpdesk_app CREATEDB");
  await direct("CREATE DATABASE desk OWNER helpdesk_app");
  sluice = await startSluice({ policy: POLICY, upstream: server.uri.replace(/\/postgres$/, "/desk") });
});
afterAll(async () => {
  await sluice?.close();
  await server?.stop();
});

async function direct(sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: server.uri });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

/** Runs one statement as a client that connects for it and leaves. */
function run(user: string, database: string, sql: string) {
  const uri = `postgresql://${user}@127.0.0.1:${sluice.port}/${database}`;
  return psql(["-Atc", sql], { uri });
}

test("a guarded agent's login to template1 does not prevent creating a database", async () => {
  expect(await run("anna", "template1", "SELECT 1")).toMatchObject({ stdout: "1\n", code: 0 });
  expect(await run("helpdesk_app", "desk", "CREATE DATABASE made")).toMatchObject({ stderr: "", code: 0 });
});

test.each([
  ["DROP DATABASE", "DROP DATABASE it"],
  ["CREATE DATABASE … TEMPLATE", "CREATE DATABASE copy TEMPLATE it"],
  ["ALTER DATABASE … RENAME", "ALTER DATABASE it RENAME TO other"],
])("%s works right after the last client has left", async (_, sql) => {
  await direct("DROP DATABASE IF EXISTS it");
  await direct("CREATE DATABASE it OWNER helpdesk_app");
  expect((await run("helpdesk_app", "it", "SELECT 1")).code).toBe(0);
  expect(await run("helpdesk_app", "desk", sql)).toMatchObject({ stderr: "", code: 0 });
});

test("the database of --upstream can also be dropped, and created again", async () => {
  expect((await run("helpdesk_app", "desk", "CREATE TABLE old (a int)")).code).toBe(0);
  await direct("DROP DATABASE desk");
  await direct("CREATE DATABASE desk OWNER helpdesk_app");
  await direct("ALTER DATABASE desk SET work_mem = '5MB'");
  // A guarded role is judged by the catalog, which must be that of the new database.
  const old = await run("anna", "desk", "SELECT * FROM old");
  expect(old.stderr).toContain('relation "old" does not exist');
  expect(
    (await run("helpdesk_app", "desk", "CREATE TABLE fresh (a int); GRANT SELECT ON fresh TO anna")).code,
  ).toBe(0);
  expect(await run("anna", "desk", "SELECT count(*) FROM fresh")).toMatchObject({
    stdout: "0\n",
    stderr: "",
  });
});

test("a database that is dropped by force while in use leaves no attempts and no log lines behind", async () => {
  await direct("CREATE DATABASE forced OWNER helpdesk_app");
  const client = new pg.Client({ connectionString: `postgresql://anna@127.0.0.1:${sluice.port}/forced` });
  client.on("error", () => undefined);
  await client.connect();
  const ended = new Promise((resolve) => client.once("end", resolve));
  await direct("DROP DATABASE forced WITH (FORCE)");
  await ended;
  const told = () => sluice.lines.filter((line) => /"forced".*the catalog cannot be read/.test(line)).length;
  await expect.poll(() => sluice.sessions()).toBe(0);
  const before = told();
  // Longer than the time between the first attempts.
  expect((await run("anna", "desk", "SELECT pg_sleep(1)")).code).not.toBe(2);
  expect(told()).toBe(before);
  expect(before).toBeLessThanOrEqual(1);
});

test("the control connection stays open while a client is connected", async () => {
  const client = new pg.Client({ connectionString: `postgresql://anna@127.0.0.1:${sluice.port}/desk` });
  await client.connect();
  const pids = async () =>
    (
      await direct(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'sluice catalog' AND datname = 'desk'",
      )
    ).rows;
  const first = await pids();
  expect(first).toHaveLength(1);
  for (let n = 0; n < 30; n++)
    await client.query("SELECT pg_sleep(0.1)").catch(() => client.query("SELECT 1"));
  expect(await pids()).toEqual(first);
  await client.end();
  await expect.poll(pids).toEqual([]);
});

test("the catalogs of many databases of one server are read in turn", async () => {
  const sockets = new Set<Socket>();
  let most = 0;
  let came = 0;
  // It takes connections and says nothing.
  const silent = createServer((socket) => {
    came++;
    sockets.add(socket.on("error", () => {}));
    most = Math.max(most, sockets.size);
  });
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  const catalogs = new Catalogs({ connection: { host: "127.0.0.1", port, user: "x" }, probeSeconds: 3600 });
  const all = Array.from({ length: 20 }, (_, i) => catalogs.of(`d${i}`).catch(() => undefined));
  for (let ended = 0; ended < 20; ended++) {
    await expect.poll(() => came).toBeGreaterThan(ended);
    const [first] = sockets;
    if (first !== undefined) sockets.delete(first);
    first?.destroy();
  }
  await Promise.all(all);
  expect(most).toBe(4);
  await catalogs.close();
  silent.close();
});
