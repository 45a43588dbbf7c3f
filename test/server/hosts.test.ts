import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { freePort, type RunningPostgres, startPostgres } from "../../proxy/embedded/postgres.ts";
import { int32 } from "../../proxy/wire/messages.ts";
import { cancelRequest } from "../../proxy/wire/startup.ts";
import { RawClient } from "../harness/raw-client.ts";
import { serverFolder, TEST_POSTGRES } from "../harness/servers.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { ask } from "./relay.ts";

const POLICY = `version: 1
roles:
  app: { users: [postgres], reads: all, writes: all, sees: all, budget: none }
`;
const { superuser, password } = TEST_POSTGRES;

/** A primary and a standby that follows it by streaming. */
let primary: RunningPostgres;
let standby: RunningPostgres;
let nobody: number;

beforeAll(async () => {
  const [first, second] = [join(await serverFolder(), "data"), join(await serverFolder(), "data")];
  // A server that was stopped in order can be copied as it lies (Postgres docs, "File System Level Backup").
  const original = await startPostgres({ ...TEST_POSTGRES, dataFolder: first });
  await original.stop();
  await promisify(execFile)("cp", ["-a", original.dataFolder, second]);
  await writeFile(join(second, "standby.signal"), "");
  primary = await startPostgres({ ...TEST_POSTGRES, dataFolder: first });
  const follow = `host=127.0.0.1 port=${primary.port} user=${superuser} password=${password}`;
  const settings = { ...TEST_POSTGRES.settings, primary_conninfo: follow };
  standby = await startPostgres({ ...TEST_POSTGRES, settings, dataFolder: second });
  nobody = await freePort();
});
afterAll(async () => {
  await standby?.stop();
  await primary?.stop();
});

async function proxyOf(
  ports: readonly number[],
  attrs: string,
  flags: readonly string[] = [],
): Promise<TestSluice> {
  const hosts = ports.map((port) => `127.0.0.1:${port}`).join(",");
  const upstream = `postgresql://${superuser}:${password}@${hosts}/postgres?target_session_attrs=${attrs}`;
  const sluice = await startSluice({ policy: POLICY, upstream, flags });
  onTestFinished(() => sluice.close());
  return sluice;
}

const login = ({ port }: TestSluice, database = "postgres"): pg.ClientConfig => ({
  host: "127.0.0.1",
  port,
  user: superuser,
  password,
  database,
});
const WHERE = "SELECT current_setting('port') AS answer";

test.each([
  ["any", () => standby],
  ["read-write", () => primary],
  ["primary", () => primary],
  ["read-only", () => standby],
  ["standby", () => standby],
  ["prefer-standby", () => standby],
])("target_session_attrs=%s finds its server behind one that is away", async (attrs, expected) => {
  const sluice = await proxyOf([nobody, standby.port, primary.port], attrs);
  expect(await ask(login(sluice), WHERE)).toBe(String(expected().port));
});

test("prefer-standby takes the primary where there is no standby; standby says that there is none", async () => {
  const alone = [nobody, primary.port];
  expect(await ask(login(await proxyOf(alone, "prefer-standby")), WHERE)).toBe(String(primary.port));
  const none = await proxyOf(alone, "standby");
  const told = await ask(login(none)).catch((error) => error);
  expect(told).toMatchObject({ code: "08006", severity: "FATAL" });
  expect(told.hint).toBeTruthy();
});

test("a session is cancelled on the host that it is on", async () => {
  const sluice = await proxyOf([nobody, standby.port], "any");
  const client = new pg.Client({ ...login(sluice) });
  await client.connect();
  const slept = client.query("SELECT pg_sleep(63)").catch((error) => error.code);
  const watch = new pg.Client({ connectionString: standby.uri });
  await watch.connect();
  await vi.waitFor(async () => {
    const active = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(63)' AND state = 'active'";
    expect((await watch.query(active)).rows).toHaveLength(1);
  });
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
  const canceller = await RawClient.connect(sluice.port);
  canceller.send(cancelRequest(processID, int32(secretKey)));
  expect(await slept).toBe("57014");
  await Promise.all([client.end(), watch.end()]);
});

test("each database is found on its own server, and others on that of --upstream", async () => {
  const admin = new pg.Client({ connectionString: primary.uri });
  await admin.connect();
  await admin.query("CREATE DATABASE sales");
  await admin.end();
  const elsewhere = `sales=postgresql://127.0.0.1:${primary.port}`;
  const sluice = await proxyOf([standby.port], "any", ["--databases", elsewhere]);
  expect(await ask(login(sluice, "sales"), WHERE)).toBe(String(primary.port));
  expect(await ask(login(sluice), WHERE)).toBe(String(standby.port));
  const twice = `${elsewhere} sales=postgresql://h`;
  await expect(proxyOf([standby.port], "any", ["--databases", twice])).rejects.toThrow("given twice");
});

test("when the primary is lost, logins are told so at once; when the standby is promoted, they go there", async () => {
  const sluice = await proxyOf([primary.port, standby.port], "primary");
  const client = new pg.Client(login(sluice));
  const lost = new Promise((resolve) => client.on("error", resolve));
  await client.connect();
  expect((await client.query(WHERE)).rows[0]?.answer).toBe(String(primary.port));
  await primary.stop();
  await lost;
  const told = await ask(login(sluice)).catch((error) => error);
  expect([told.code, Boolean(told.hint)]).toEqual(["08006", true]);
  const admin = new pg.Client({ connectionString: standby.uri });
  await admin.connect();
  await admin.query("SELECT pg_promote()");
  await admin.end();
  await vi.waitFor(async () => expect(await ask(login(sluice), WHERE)).toBe(String(standby.port)));
  await vi.waitFor(async () => expect((await fetch(`${sluice.adminUrl}/readyz`)).status).toBe(200));
});
