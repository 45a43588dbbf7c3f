import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { int32 } from "../../proxy/wire/messages.ts";
import { cancelRequest } from "../../proxy/wire/startup.ts";
import { compileSluice, type Program } from "../harness/compiled-program.ts";
import { freshDatabase, PASSWORDS, psql, type TestDatabase } from "../harness/postgres.ts";
import { type RunningProgram, runSluice } from "../harness/program.ts";
import { RawClient } from "../harness/raw-client.ts";
import { redisUrl } from "../harness/redis.ts";

const POLICY = `version: 1
roles:
  agent: { users: [anna], reads: all, budget: none }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;
const USERS = ["anna", "helpdesk_app"] as const;
/** In milliseconds; a busy machine must do within each of them what is tried there. */
const DELAY = 4_000;
const DRAIN_TIMEOUT = 5_000;

let program: Program;
let database: TestDatabase;
let redis: string;
beforeAll(async () => {
  [program, database, redis] = await Promise.all([compileSluice(), freshDatabase("drain"), redisUrl()]);
});
afterAll(async () => {
  await database?.drop();
});

async function start(...flags: readonly string[]): Promise<RunningProgram> {
  const key = randomBytes(32).toString("hex");
  const running = await runSluice(program.main, {
    policy: POLICY,
    upstream: database.uri,
    redis,
    key,
    flags,
  });
  onTestFinished(() => running.close());
  return running;
}

function uriOf({ port }: RunningProgram, user: (typeof USERS)[number]): string {
  return `postgresql://${user}:${PASSWORDS[user]}@127.0.0.1:${port}/${database.database}`;
}

/** What pg keeps of the server's BackendKeyData, and the error that ended the session. */
interface Session extends pg.Client {
  readonly processID: number;
  readonly secretKey: number;
  readonly over: Promise<string>;
}

async function open(sluice: RunningProgram, user: (typeof USERS)[number]): Promise<Session> {
  const client = new pg.Client({ connectionString: uriOf(sluice, user) });
  const over = new Promise<string>((resolve) =>
    client.on("error", (error: Error & { code?: string }) => resolve(error.code ?? error.message)),
  );
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return Object.assign(client, { over }) as unknown as Session;
}

const one = (uri: string) => psql(["-XAtc", "select 1"], { uri });
const codeOf = (error: pg.DatabaseError) => error.code;

test("SIGTERM: new clients for the delay, then none; idle ones go, transactions end in their time", async () => {
  const sluice = await start("--drain-delay", `${DELAY}ms`, "--drain-timeout", `${DRAIN_TIMEOUT}ms`);
  const idle = await Promise.all(USERS.map((user) => open(sluice, user)));
  const working = await Promise.all(USERS.map((user) => open(sluice, user)));
  const endless = await open(sluice, "helpdesk_app");
  const stuck = await open(sluice, "helpdesk_app");
  for (const client of [...working, endless, stuck]) await client.query("begin");
  const since = performance.now();
  sluice.signal("SIGTERM");

  // Load balancers are told at once; whoever comes all the same is served as before.
  await vi.waitFor(async () => {
    const ready = await fetch(`${sluice.adminUrl}/readyz`);
    expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining("draining")]);
  });
  const late = one(uriOf(sluice, "anna"));
  for (const client of idle) expect((await client.query("select 1 as n")).rows).toEqual([{ n: 1 }]);
  expect((await late).stdout).toBe("1\n");

  // Then sessions between two transactions end, and nobody new is let in.
  expect(await Promise.all(idle.map(({ over }) => over))).toEqual(["57P01", "57P01"]);
  expect(performance.now() - since).toBeGreaterThanOrEqual(DELAY);
  const turnedAway = one(uriOf(sluice, "anna"));
  expect(await open(sluice, "anna").catch(codeOf)).toBe("57P03");

  // What runs in an open transaction goes on, and can still be cancelled.
  const sleeping = stuck.query("select pg_sleep(60)").catch(codeOf);
  await vi.waitFor(async () => {
    const sql = "select 1 from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'";
    expect((await database.query(sql)).rows).toHaveLength(1);
  });
  const canceller = await RawClient.connect(sluice.port);
  canceller.send(cancelRequest(stuck.processID, int32(stuck.secretKey)));
  await canceller.closed();
  expect(await sleeping).toBe("57014");
  const { stderr, code } = await turnedAway;
  expect(stderr).toContain("the proxy is shutting down");
  expect(code).toBe(2);
  for (const client of working) {
    expect((await client.query("select 2 as n")).rows).toEqual([{ n: 2 }]);
    await client.query("commit");
  }
  expect(await Promise.all(working.map(({ over }) => over))).toEqual(["57P01", "57P01"]);

  // One that does not end is ended.
  expect(await endless.over).toBe("57P01");
  expect(performance.now() - since).toBeGreaterThanOrEqual(DELAY + DRAIN_TIMEOUT);
  expect(await sluice.ended).toBe(0);
}, 30_000);

test("a second signal ends the process at once", async () => {
  const sluice = await start("--drain-delay", "10m");
  sluice.signal("SIGTERM");
  await vi.waitFor(() =>
    expect(sluice.log.map(({ msg }) => msg)).toContainEqual(expect.stringMatching(/^ending/)),
  );
  sluice.signal("SIGTERM");
  expect(await sluice.ended).toBe(130);
});
