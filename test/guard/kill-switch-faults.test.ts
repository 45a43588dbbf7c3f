import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { grant } from "../../proxy/commands/grant.ts";
import { resume } from "../../proxy/commands/resume.ts";
import { sessions } from "../../proxy/commands/sessions.ts";
import { suspend } from "../../proxy/commands/suspend.ts";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { type RedisServer, startRedis } from "../harness/redis.ts";
import type { TestSluice } from "../harness/sluice.ts";
import { turns } from "../harness/turns.ts";
import { connect, type Fleet, failure, fleetOf } from "./fleet.ts";

const POLICY = `version: 1
tables:
  public.customers: { subject: id }
roles:
  agent: { users: [anna, ben], reads: [public.customers], budget: { 1d: 5 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

let database: TestDatabase;
let redis: RedisServer;
let fleet: Fleet;
let proxies: TestSluice[];

beforeAll(async () => {
  database = await freshDatabase("kill_switch_faults");
  await supportSchema(database.uri);
  redis = await startRedis({});
  fleet = await fleetOf(database, redis.url, POLICY);
  proxies = await Promise.all([fleet.proxy(), fleet.proxy(), fleet.proxy()]);
});
afterAll(async () => {
  await Promise.all(proxies.map((each) => each.close()));
  await fleet.close();
  await redis.stop();
  await database.drop();
});

/** A session on each proxy, in the midst of a statement. */
async function sleepers(): Promise<readonly Promise<string>[]> {
  const clients = await Promise.all(proxies.map((each) => connect(each, "helpdesk_app")));
  const running = clients.map((client) => failure(client.query("select pg_sleep(60)")));
  await vi.waitUntil(async () => (await fleet.running("helpdesk_app")) === proxies.length);
  return running;
}

async function staysOut(of: readonly TestSluice[]): Promise<void> {
  for (const each of of) {
    await vi.waitUntil(async () => (await failure(connect(each, "helpdesk_app"))) === "28000");
  }
}

async function letIn(): Promise<void> {
  expect((await fleet.command(resume, "helpdesk_app")).status).toBe(0);
  for (const each of proxies) {
    await vi.waitUntil(async () => (await failure(connect(each, "helpdesk_app"))) === "it did not fail");
  }
}

test("with every message lost, the next look ends a suspended user's sessions on every proxy", async () => {
  const running = await sleepers();
  const saboteur = new Redis(redis.url);
  onTestFinished(() => saboteur.disconnect());
  // Whoever subscribes again is cut off again, as long as the order is on its way.
  const cutting = setInterval(
    () => void saboteur.call("CLIENT", "KILL", "TYPE", "pubsub").catch(() => {}),
    10,
  );
  onTestFinished(() => clearInterval(cutting));
  const { status } = await fleet.command(suspend, "helpdesk_app", "--why", "stolen password");
  const since = turns();
  expect(status).toBe(0);
  expect(await Promise.all(running)).toEqual(proxies.map(() => "57P01"));
  // A look takes 400 ms.
  expect(since.elapsed()).toBeLessThan(3_000);
  clearInterval(cutting);
  await vi.waitUntil(async () => (await fleet.running("helpdesk_app")) === 0);
  await staysOut(proxies);
  await letIn();
}, 90_000);

test("an order is not lost on a Redis that stands still for a while, and a question is answered after it", async () => {
  const saboteur = new Redis(redis.url);
  onTestFinished(() => saboteur.disconnect());
  for (const [run, ...args] of [
    [suspend, "ben", "--why", "stolen password"],
    [resume, "ben"],
    [grant, "--list"],
  ] as const) {
    // For longer than a command waits for the first answer.
    await saboteur.call("CLIENT", "PAUSE", "1500", "ALL");
    expect(await fleet.command(run, ...args)).toMatchObject({ status: 0 });
  }
});

test("a suspension outlives a restart of Redis with nothing, and then one of every proxy", async () => {
  expect((await fleet.command(suspend, "helpdesk_app", "--why", "stolen password")).status).toBe(0);
  // Whoever has not heard of it yet could not ask any more.
  await staysOut(proxies);
  await redis.kill();
  await staysOut(proxies);
  const unreached = await fleet.command(suspend, "ben", "--why", "also");
  expect(unreached).toMatchObject({ status: 1, said: expect.stringContaining('"ben" is NOT suspended') });
  for (const [run, ...args] of [[resume, "helpdesk_app"], [grant, "--list"], [sessions]] as const) {
    const { status, said } = await fleet.command(run, ...args);
    expect([status, said]).toEqual([1, expect.stringContaining("Redis cannot be reached")]);
  }
  redis = await startRedis({ port: redis.port });
  await staysOut(proxies);
  // Somebody who was there before has told the new Redis once a newcomer knows.
  await vi.waitUntil(
    async () => {
      const newcomer = await fleet.proxy();
      const knows = (await failure(connect(newcomer, "helpdesk_app"))) === "28000";
      await newcomer.close();
      return knows;
    },
    { interval: 200 },
  );
  await Promise.all(proxies.map((each) => each.close()));
  proxies = await Promise.all([fleet.proxy(), fleet.proxy()]);
  await staysOut(proxies);
  await letIn();
}, 90_000);

test("a grant lets just so many more through on every proxy; the client is told of four fifths, and of the larger budget", async () => {
  const [here, there] = await Promise.all(proxies.map((each) => connect(each, "anna")));
  if (here === undefined || there === undefined) throw new Error("fewer than two proxies");
  const notices: { severity: string | undefined; message: string | undefined }[] = [];
  here.on("notice", ({ severity, message }) => notices.push({ severity, message }));
  // A list has a price of its own.
  const read = async (client: typeof here, from: number, to: number) => {
    for (let id = from; id <= to; id++)
      await client.query("select id from public.customers where id = $1", [id]);
    return to - from + 1;
  };
  await read(here, 1, 4);
  expect(notices).toEqual([
    { severity: "NOTICE", message: "80 % of the budget of 5 people in 1d is used up" },
  ]);
  await expect(read(there, 4, 6)).rejects.toMatchObject({
    code: "53400",
    message: "budget of 5 people in 1d is used up",
    detail: expect.stringMatching(/^User "anna": 5 of 5 people used within 1d\. The next read fits at 20/),
    constraint: "roles.agent.budget.1d",
  });
  const given = await fleet.command(grant, "anna", "--budget", "1d=+3", "--for", "1h", "--why", "a recall");
  expect(given).toMatchObject({ status: 0, said: expect.stringContaining("+3 people") });
  await vi.waitUntil(async () => (await failure(read(there, 6, 6))) === "it did not fail");
  await vi.waitUntil(async () => (await failure(read(here, 7, 7))) === "it did not fail");
  await expect(read(here, 7, 9)).rejects.toMatchObject({
    code: "53400",
    message: "budget of 8 people in 1d is used up",
    detail: expect.stringContaining('User "anna": 8 of 8 people used within 1d.'),
  });
  expect((await fleet.command(grant, "anna", "--revoke", "--why", "done")).status).toBe(0);
  await vi.waitUntil(async () => {
    const refused = await read(there, 9, 9).catch((error: { message: string }) => error.message);
    return refused === "budget of 5 people in 1d is used up";
  });
  expect(await read(there, 1, 8)).toBe(8);
});
