import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { int32 } from "../../proxy/wire/messages.ts";
import { cancelRequest } from "../../proxy/wire/startup.ts";
import { logIn, TOKEN, words } from "../admin/console/browsing.ts";
import { compileSluice, type Program } from "../harness/compiled-program.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { processAtPort } from "../harness/processes.ts";
import { type ProgramOptions, type RunningProgram, runSluice } from "../harness/program.ts";
import { RawClient } from "../harness/raw-client.ts";
import { redisUrl } from "../harness/redis.ts";
import { ask } from "./relay.ts";

const POLICY = `version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: [public.customers], finds: [email], rows: 100, budget: { 1d: 500 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
admins: [cleo]
`;
const KEY = randomBytes(32).toString("hex");

let program: Program;
let database: TestDatabase;
/** Three workers, for the tests that leave them as they are. */
let fleet: RunningProgram;
let redis: string;
let folder: string | undefined;

beforeAll(async () => {
  [program, database, redis] = await Promise.all([compileSluice(), freshDatabase("workers"), redisUrl()]);
  await supportSchema(database.uri);
  folder = await mkdtemp(join(tmpdir(), "sluice-workers-"));
  const tokens = join(folder, "tokens");
  await writeFile(tokens, `olga:${TOKEN}\n`, { mode: 0o600 });
  fleet = await runSluice(program.main, options(["--workers", "3", "--console-token-file", tokens]));
});
afterAll(async () => {
  await fleet?.close();
  await database?.drop();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

function options(flags: readonly string[], more: Partial<ProgramOptions> = {}): ProgramOptions {
  return { policy: POLICY, upstream: database.uri, redis, key: KEY, flags, ...more };
}

async function start(...flags: readonly string[]): Promise<RunningProgram> {
  const running = await runSluice(program.main, options(flags));
  onTestFinished(() => running.close());
  return running;
}

function login({ port }: RunningProgram, user: "anna" | "helpdesk_app" = "helpdesk_app"): pg.ClientConfig {
  return { host: "127.0.0.1", port, user, password: PASSWORDS[user], database: database.database };
}

/** What pg keeps of the server's BackendKeyData. */
interface Session extends pg.Client {
  readonly processID: number;
  readonly secretKey: number;
}

async function open(to: RunningProgram, user?: "anna" | "helpdesk_app"): Promise<Session> {
  const client = new pg.Client(login(to, user)) as Session;
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

/** Lets a session sleep; `ended` says how its statement ended. */
async function sleeping(client: Session): Promise<{ readonly ended: Promise<string> }> {
  const ended = client.query("SELECT pg_sleep(62)").then(
    () => "slept",
    (error: { code?: string }) => error.code ?? "lost",
  );
  await vi.waitFor(async () => expect(await sleepers()).toBe(1));
  return { ended };
}

async function sleepers(): Promise<number | undefined> {
  const { rows } = await database.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(62)' AND state = 'active' AND datname = current_database()",
  );
  return rows[0]?.n;
}

/** As libpq's PQcancel: over a connection of its own, until the other end closes it. */
async function cancel(
  port: number,
  { processID, secretKey }: Pick<Session, "processID" | "secretKey">,
): Promise<void> {
  const canceller = await RawClient.connect(port);
  canceller.send(cancelRequest(processID, int32(secretKey)));
  await canceller.closed();
}

test("clients are spread over all workers", async () => {
  const served = new Map<number, number>();
  for (let i = 0; i < 12; i++) {
    const worker = await workerOf(fleet, await open(fleet));
    served.set(worker, (served.get(worker) ?? 0) + 1);
  }
  // They go round, but a worker that has not taken its last one yet is passed over (node:cluster's round-robin policy).
  expect(served.size).toBe(3);
  expect(Math.max(...served.values())).toBeLessThanOrEqual(6);
});

test("a cancel request that arrives at another worker cancels", async () => {
  for (let i = 0; i < 3; i++) {
    const client = await open(fleet);
    const { ended } = await sleeping(client);
    // Connections go round: the next one is another worker's.
    await cancel(fleet.port, client);
    expect(await ended).toBe("57014");
  }
});

test("a cancel request that arrives at another instance cancels, and one with a wrong key does not", async () => {
  const other = await start();
  const client = await open(fleet);
  const { ended } = await sleeping(client);
  const { processID, secretKey } = client;
  await cancel(other.port, { processID, secretKey: secretKey ^ 1 });
  // A cancel request has done what it does when its connection is closed.
  expect(await sleepers()).toBe(1);
  await cancel(other.port, client);
  expect(await ended).toBe("57014");
});

test("limits of clients hold for all workers together, and those of a user who is gone are free again", async () => {
  const small = await start("--workers", "2", "--max-clients", "5", "--max-clients-per-user", "2");
  const first = await open(small, "anna");
  await open(small, "anna");
  const third = await ask(login(small, "anna")).catch((error) => error);
  expect(third).toMatchObject({ code: "53300", message: 'too many connections for role "anna"' });
  for (let i = 0; i < 2; i++) await open(small);
  expect(await ask(login(small)).catch((error) => error.message)).toContain('role "helpdesk_app"');
  await first.end();
  await vi.waitFor(async () => expect(await ask(login(small, "anna"))).toBe("anna"));
});

test("one endpoint has the numbers of all, those of the first process too, and its readiness", async () => {
  const before = await fleet.metric("sluice_sessions_total");
  for (let i = 0; i < 6; i++) await ask(login(fleet));
  expect(await fleet.metric("sluice_sessions_total")).toBe(before + 6);
  expect(await fleet.metric("sluice_workers")).toBe(3);
  expect(await fleet.metric("sluice_counters_up")).toBe(1);
  await vi.waitFor(async () => expect((await fetch(`${fleet.adminUrl}/readyz`)).status).toBe(200));
});

test("the console has the sessions and refusals of every worker", async () => {
  const officer = await logIn(fleet);
  const clients = await Promise.all([open(fleet, "anna"), open(fleet, "anna"), open(fleet, "anna")]);
  expect(new Set(await Promise.all(clients.map((client) => workerOf(fleet, client)))).size).toBe(3);
  for (const [i, client] of clients.entries()) {
    await expect(client.query(`SELECT 1 AS "of client ${i}" FROM tickets`)).rejects.toThrow(/tickets/);
  }
  await vi.waitFor(async () => {
    const alerts = words(await officer.see("/console/alerts"));
    for (const i of clients.keys()) expect(alerts).toContain(`SELECT $1 AS "of client ${i}" FROM tickets`);
    expect(alerts).toContain("this process and 2 others of the fleet");
    expect(words(await officer.see("/console/sessions"))).toMatch(/^(?:.*? anna agent ){3}/);
  });
});

test("a worker that is killed takes only its own sessions along, and another takes its place", async () => {
  const running = await start("--workers", "2", "--max-clients-per-user", "3");
  const clients = await Promise.all([open(running, "anna"), open(running, "anna")]);
  const [mine, other] = clients;
  await mine.query("SELECT id FROM customers WHERE id = 1");
  const lost = new Promise((resolve) => mine.once("error", resolve));
  await vi.waitFor(async () => expect(await running.metric("sluice_statements_total")).toBeGreaterThan(0));
  process.kill(await workerOf(running, mine), "SIGKILL");
  await lost;
  expect((await other.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  await vi.waitFor(async () => expect(await running.metric("sluice_workers")).toBe(2));
  expect(await running.metric("sluice_worker_restarts_total")).toBe(1);
  // What it has counted is not lost, and its seats are free.
  expect(await running.metric("sluice_statements_total")).toBeGreaterThan(0);
  for (let i = 0; i < 2; i++) await open(running, "anna");
  running.signal("SIGTERM");
  expect(await running.ended).toBe(0);
  const verified = await promisify(execFile)(
    process.execPath,
    [program.main, "audit", "verify", running.auditFolder],
    { env: { ...process.env, SLUICE_KEY: KEY } },
  );
  expect(verified.stdout).toMatch(/^(\S+: ok: .*\n){2}\n?$/);
});

/** The process that serves this session: its end of the connection to the server is known by its port. */
async function workerOf({ log }: RunningProgram, { processID }: Session): Promise<number> {
  const { rows } = await database.query<{ port: number }>(
    `SELECT client_port AS port FROM pg_stat_activity WHERE pid = ${processID}`,
  );
  const workers = log.filter(({ msg }) => msg === "a worker serves").map(({ pid }) => pid);
  return processAtPort(rows[0]?.port ?? 0, workers);
}

test("SIGHUP reaches every worker", async () => {
  const before = await fleet.metric("sluice_policy_reloads_total");
  await writeFile(fleet.policyFile, `${POLICY}# again\n`);
  fleet.signal("SIGHUP");
  await vi.waitFor(async () =>
    expect(await fleet.metric("sluice_policy_reloads_total")).toBeGreaterThanOrEqual(before + 3),
  );
});

test("an admin's KILL ends sessions of any worker, and RELOAD reaches all", async () => {
  const admin = new pg.Client({
    ...login(fleet),
    user: "cleo",
    password: PASSWORDS.cleo,
    database: "sluice",
  });
  await admin.connect();
  onTestFinished(() => admin.end());
  const clients = await Promise.all([open(fleet), open(fleet), open(fleet)]);
  expect(new Set(await Promise.all(clients.map((client) => workerOf(fleet, client)))).size).toBe(3);
  const gone = clients.map((client) => new Promise((resolve) => client.once("end", resolve)));
  const killed = new Set<string>();
  await vi.waitFor(async () => {
    const { rows } = await admin.query<{ session: string; user: string }>("SHOW SESSIONS");
    for (const { session, user } of rows) {
      if (user !== "helpdesk_app" || killed.has(session)) continue;
      // Sessions of a test before this one may have ended meanwhile.
      await admin.query(`KILL ${session}`).catch(() => {});
      killed.add(session);
    }
    expect(killed.size).toBeGreaterThanOrEqual(3);
  });
  await Promise.all(gone);
  const before = await fleet.metric("sluice_policy_reloads_total");
  await writeFile(fleet.policyFile, `${POLICY}# by RELOAD\n`);
  await admin.query("RELOAD");
  expect(await fleet.metric("sluice_policy_reloads_total")).toBeGreaterThanOrEqual(before + 3);
});

test("a worker that is killed while the policy on disk is wrong comes back with the one in force", async () => {
  const running = await start("--workers", "2");
  const reads = () => running.metric("sluice_policy_reloads_total", 'result="failure"');
  await writeFile(running.policyFile, `${POLICY}modus: enforce\n`);
  await vi.waitFor(async () => expect(await reads()).toBe(2));
  process.kill(await workerOf(running, await open(running)), "SIGKILL");
  await vi.waitFor(async () => expect(await running.metric("sluice_worker_restarts_total")).toBe(1));
  await vi.waitFor(async () => expect(await running.metric("sluice_workers")).toBe(2));
  // Connections go round: these reach both.
  const masked = { email: expect.stringMatching(/^.\*\*\*@/) };
  for (let i = 0; i < 2; i++) {
    const client = await open(running, "anna");
    expect((await client.query("SELECT email FROM customers WHERE id = 1")).rows).toEqual([masked]);
  }
});

test("a client that is handed to a worker as it dies does not wait for ever", async () => {
  const running = await start("--workers", "2");
  const frozen = await workerOf(running, await open(running));
  process.kill(frozen, "SIGSTOP");
  // Connections go round: one of these waits for the frozen worker to take it.
  const outcomes = [1, 2].map(() =>
    ask(login(running)).then(
      () => "served",
      (error: Error) => error.message,
    ),
  );
  expect(await Promise.race(outcomes)).toBe("served");
  process.kill(frozen, "SIGKILL");
  expect((await Promise.all(outcomes)).sort()).toEqual([
    expect.stringMatching(/terminated|ECONNRESET/),
    "served",
  ]);
});

test("SIGTERM lets an open transaction end, tells new clients 57P03 and idle ones 57P01", async () => {
  const running = await runSluice(program.main, options(["--workers", "2"]));
  const [busy, idle] = [await open(running), await open(running)];
  const told = new Promise((resolve) => idle.once("error", resolve));
  await busy.query("BEGIN");
  running.signal("SIGTERM");
  expect(await told).toMatchObject({ code: "57P01" });
  expect(await ask(login(running)).catch((error) => error.code)).toBe("57P03");
  expect((await fetch(`${running.adminUrl}/readyz`)).status).toBe(503);
  await busy.query("COMMIT");
  expect(await running.ended).toBe(0);
});

test("what keeps a worker from starting is told once, and ends all", async () => {
  const wrong = options(["--workers", "3"], { policy: `${POLICY}modus: enforce\n` });
  const failure: Error = await runSluice(program.main, wrong).catch((error) => error);
  expect(failure.message).toMatch(/^status 1\nsluice serve: .*policy\.yaml:\d+:1/s);
  expect(failure.message.match(/policy\.yaml/g)).toHaveLength(1);
});

test("workers without Redis are refused", async () => {
  const failure: Error = await runSluice(program.main, options(["--workers", "2"], { redis: "" })).catch(
    (error) => error,
  );
  expect(failure.message).toContain("--redis");
});

test("workers end when the first process is killed", async () => {
  const running = await runSluice(program.main, options(["--workers", "2"]));
  running.signal("SIGKILL");
  await running.ended;
  await vi.waitFor(async () => await expect(RawClient.connect(running.port)).rejects.toThrow("ECONNREFUSED"));
});
