import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { type RunningPostgres, startPostgres } from "../../proxy/embedded/postgres.ts";
import { serverFolder, TEST_POSTGRES } from "../harness/servers.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { turns } from "../harness/turns.ts";
import { ask } from "./relay.ts";

const POLICY = `version: 1
roles:
  app: { users: [postgres], reads: all, writes: all, sees: all, budget: none }
`;
const { superuser, password } = TEST_POSTGRES;
const WHERE = "SELECT current_setting('port') AS answer";

/** Two servers of one database, as far as these tests look. */
let first: RunningPostgres;
let second: RunningPostgres;
let folder: string;

beforeAll(async () => {
  folder = join(await serverFolder(), "data");
  first = await startPostgres({ ...TEST_POSTGRES, dataFolder: folder });
  second = await startPostgres({ ...TEST_POSTGRES, dataFolder: join(await serverFolder(), "data") });
});
afterAll(async () => {
  await first?.stop();
  await second?.stop();
});

async function proxy(...flags: readonly string[]): Promise<TestSluice> {
  const hosts = [first, second].map(({ port }) => `127.0.0.1:${port}`).join(",");
  const upstream = `postgresql://${superuser}:${password}@${hosts}/postgres?connect_timeout=2`;
  const sluice = await startSluice({ policy: POLICY, upstream, flags });
  onTestFinished(() => sluice.close());
  return sluice;
}

const login = ({ port }: TestSluice): pg.ClientConfig => ({
  host: "127.0.0.1",
  port,
  user: superuser,
  password,
  database: "postgres",
});

/** A session that is on the first server, and how its long statement ends. */
async function sessionOnFirst(sluice: TestSluice) {
  const client = new pg.Client(login(sluice));
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  expect((await client.query(WHERE)).rows[0]?.answer).toBe(String(first.port));
  const ended = client.query("SELECT pg_sleep(600)").catch((error: pg.DatabaseError) => error);
  return { ended };
}

/** The postmaster and its children, as /proc tells of them. */
async function processesOf({ pid }: RunningPostgres): Promise<readonly number[]> {
  const children: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const status = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
    // "pid (name) state ppid …"; a name may hold blanks and parentheses.
    const [, parent] = status.slice(status.lastIndexOf(")") + 2).split(" ");
    if (Number(parent) === pid) children.push(Number(name));
  }
  return [pid, ...children];
}

test("a server that is stopped ends its sessions with a hint; logins go to the next one, and come back", async () => {
  const sluice = await proxy();
  const { ended } = await sessionOnFirst(sluice);
  await first.stop();
  // The server itself still says so where it can.
  expect(await ended).toMatchObject({ code: expect.stringMatching(/^(57P01|08006)$/) });
  expect(await ask(login(sluice), WHERE)).toBe(String(second.port));
  await second.stop();
  const told = await ask(login(sluice)).catch((error) => error);
  expect(told).toMatchObject({ code: "08006", hint: expect.stringContaining("database behind it") });
  // Of both only the first one comes back: what is avoided for a while is still tried.
  first = await startPostgres({ ...TEST_POSTGRES, dataFolder: folder, port: first.port });
  await vi.waitFor(async () => expect(await ask(login(sluice), WHERE)).toBe(String(first.port)));
  second = await startPostgres({ ...TEST_POSTGRES, dataFolder: second.dataFolder, port: second.port });
});

const onLinux = test.skipIf(process.platform !== "linux");

onLinux("a server that is frozen holds up nobody: logins go on, its statements end with 08006", async () => {
  const sluice = await proxy("--statement-timeout", "1s");
  // One that is never answered again; the limit of its statement is what ends it.
  const { ended } = await sessionOnFirst(sluice);
  const frozen = await processesOf(first);
  for (const pid of frozen) process.kill(pid, "SIGSTOP");
  try {
    const since = performance.now();
    expect(await ask(login(sluice), WHERE)).toBe(String(second.port));
    expect(performance.now() - since).toBeGreaterThan(1_900);
    // What did not answer is asked last from now on.
    const again = turns();
    expect(await ask(login(sluice), WHERE)).toBe(String(second.port));
    expect(again.elapsed()).toBeLessThan(1_900);
    expect(await ended).toMatchObject({ code: "08006", hint: expect.stringContaining("Connect again") });
  } finally {
    for (const pid of frozen) process.kill(pid, "SIGCONT");
  }
});
