import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { resume } from "../../proxy/commands/resume.ts";
import { sessions } from "../../proxy/commands/sessions.ts";
import { suspend } from "../../proxy/commands/suspend.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { redisUrl } from "../harness/redis.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `version: 1
tables:
  public.customers: { subject: id }
roles:
  agent: { users: [anna, ben], reads: [public.customers], budget: { 1d: 100 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

let database: TestDatabase;
let folder: string;
let redis: string;
let proxies: readonly [TestSluice, TestSluice];
let common: readonly string[];

beforeAll(async () => {
  database = await freshDatabase("kill_switch");
  await supportSchema(database.uri);
  folder = await mkdtemp(join(tmpdir(), "sluice-kill-"));
  await writeFile(join(folder, "key"), randomBytes(32).toString("hex"), { mode: 0o600 });
  redis = await redisUrl();
  common = ["--redis", redis, "--key-file", join(folder, "key")];
  proxies = [await proxy(), await proxy()];
});
afterAll(async () => {
  await Promise.all(proxies.map((each) => each.close()));
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

function proxy(): Promise<TestSluice> {
  return startSluice({ policy: POLICY, upstream: database.uri, flags: common });
}

async function command(run: typeof suspend, ...args: string[]): Promise<{ status: number; said: string }> {
  const written: string[] = [];
  const stream = { write: (text: string) => written.push(text) };
  const places = [...common, "--audit", join(folder, "none"), "--config", "/dev/null"];
  const status = await run([...args, ...places], { output: stream, errors: stream }, {});
  return { status, said: written.join("") };
}

async function connect(to: TestSluice, user: keyof typeof PASSWORDS): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: to.uriFor(user, PASSWORDS[user]) });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

/** The SQLSTATE with which a statement or a log-in fails. */
async function failure(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason as Error,
  );
  return (error as pg.DatabaseError).code ?? error.message;
}

const sleepers = async () => {
  const { rows } = await database.query<{ count: number }>(
    "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'helpdesk_app' AND datname = current_database() AND state = 'active'",
  );
  return rows[0]?.count ?? 0;
};

test("a suspended user is cut off on every instance within a second, with all that he runs, and stays out", async () => {
  const clients = await Promise.all(proxies.map((each) => connect(each, "helpdesk_app")));
  const bystander = await connect(proxies[0], "ben");
  const running = clients.map((client) => failure(client.query("select pg_sleep(60)")));
  await vi.waitUntil(async () => (await sleepers()) === 2, { timeout: 10_000 });

  const { status, said } = await command(suspend, "helpdesk_app", "--why", "stolen password", "--by", "eve");
  const since = performance.now();
  expect([status, said]).toEqual([0, '"helpdesk_app" is suspended.\n']);
  expect(await Promise.all(running)).toEqual(["57P01", "57P01"]);
  expect(performance.now() - since).toBeLessThan(1_000);
  await vi.waitUntil(async () => (await sleepers()) === 0, { timeout: 5_000 });
  for (const each of proxies) expect(await failure(connect(each, "helpdesk_app"))).toBe("28000");
  expect((await bystander.query("select 1 as one")).rows).toEqual([{ one: 1 }]);

  const third = await proxy();
  onTestFinished(() => third.close());
  expect(await failure(connect(third, "helpdesk_app"))).toBe("28000");

  expect((await command(resume, "helpdesk_app")).status).toBe(0);
  await vi.waitUntil(async () => (await failure(connect(proxies[1], "helpdesk_app"))) === "it did not fail", {
    timeout: 3_000,
  });
});

test("the list of sessions shows who is connected where, and how many people he has read", async () => {
  const anna = await connect(proxies[1], "anna");
  await anna.query("select id from public.customers where id <= 7");
  await vi.waitUntil(
    async () => {
      const { said } = await command(sessions);
      const line = said.split("\n").find((text) => text.startsWith("anna"));
      return line !== undefined && /agent +\S+ +127\.0\.0\.1 .* 7$/.test(line);
    },
    { timeout: 10_000, interval: 200 },
  );
  await anna.end();
  await vi.waitUntil(async () => !(await command(sessions)).said.includes("anna"), {
    timeout: 10_000,
    interval: 200,
  });
});

test("a command that names nobody, says no reason or reaches nothing says so and changes nothing", async () => {
  expect(await command(suspend, "--why", "x")).toMatchObject({ status: 2 });
  expect(await command(suspend, "anna")).toMatchObject({ status: 2, said: expect.stringContaining("--why") });
  expect(await command(resume, "anna")).toMatchObject({
    status: 1,
    said: expect.stringContaining("is not suspended"),
  });
  const nowhere = await suspend(
    ["anna", "--why=x", "--audit", join(folder, "none"), "--config", "/dev/null"],
    { output: { write: () => {} }, errors: { write: () => {} } },
    {},
  );
  expect(nowhere).toBe(1);
  expect(await failure(connect(proxies[0], "anna"))).toBe("it did not fail");
});
