import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { resume } from "../../proxy/commands/resume.ts";
import { sessions } from "../../proxy/commands/sessions.ts";
import { suspend } from "../../proxy/commands/suspend.ts";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { redisUrl } from "../harness/redis.ts";
import type { TestSluice } from "../harness/sluice.ts";
import { turns } from "../harness/turns.ts";
import { connect, type Fleet, failure, fleetOf } from "./fleet.ts";

const POLICY = `version: 1
tables:
  public.customers: { subject: id }
roles:
  agent: { users: [anna, ben], reads: [public.customers], budget: { 1d: 100 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  desk: { users: [cleo], reads: all, writes: all, sees: all, watch: true, people_behind: [{ setting: app.agent }], unnamed: refuse }
  web: { users: [metabase], reads: all, writes: all, sees: all, acts_as: agent, people_behind: [{ setting: app.agent }], unnamed: refuse }
`;

let database: TestDatabase;
let fleet: Fleet;
let proxies: readonly [TestSluice, TestSluice];

beforeAll(async () => {
  database = await freshDatabase("kill_switch");
  await supportSchema(database.uri);
  fleet = await fleetOf(database, await redisUrl(), POLICY);
  proxies = [await fleet.proxy(), await fleet.proxy()];
});
afterAll(async () => {
  await Promise.all(proxies.map((each) => each.close()));
  await fleet.close();
  await database.drop();
});

test("a suspended user is cut off on every instance within a second, with all that they run, and stays out", async () => {
  const clients = await Promise.all(proxies.map((each) => connect(each, "helpdesk_app")));
  const bystander = await connect(proxies[0], "ben");
  const running = clients.map((client) => failure(client.query("select pg_sleep(60)")));
  await vi.waitUntil(async () => (await fleet.running("helpdesk_app")) === 2);

  const { status, said } = await fleet.command(
    suspend,
    "helpdesk_app",
    "--why",
    "stolen password",
    "--by",
    "eve",
  );
  const since = turns();
  expect([status, said]).toEqual([0, '"helpdesk_app" is suspended.\n']);
  expect(await Promise.all(running)).toEqual(["57P01", "57P01"]);
  expect(since.elapsed()).toBeLessThan(1_000);
  await vi.waitUntil(async () => (await fleet.running("helpdesk_app")) === 0);
  for (const each of proxies) expect(await failure(connect(each, "helpdesk_app"))).toBe("28000");
  expect((await bystander.query("select 1 as one")).rows).toEqual([{ one: 1 }]);

  const third = await fleet.proxy();
  onTestFinished(() => third.close());
  expect(await failure(connect(third, "helpdesk_app"))).toBe("28000");

  expect((await fleet.command(resume, "helpdesk_app")).status).toBe(0);
  await vi.waitUntil(async () => (await failure(connect(proxies[1], "helpdesk_app"))) === "it did not fail");
});

test.each([
  ["cleo", "select pg_sleep(60), id from public.customers limit 1"],
  ["metabase", "select pg_sleep(60)"],
] as const)(
  "what runs for a suspended person ends within a second behind an application (%s), and for nobody else",
  async (account, runs) => {
    const [dora, ida] = await Promise.all([connect(proxies[0], account), connect(proxies[0], account)]);
    await dora.query("set app.agent = 'dora'");
    await ida.query("set app.agent = 'ida'");
    const [hers, others] = [failure(dora.query(runs)), failure(ida.query(runs))];
    await vi.waitUntil(async () => (await fleet.running(account)) === 2);
    const since = turns();
    expect((await fleet.command(suspend, "dora", "--why", "a test", "--by", "eve")).status).toBe(0);
    expect(await hers).toBe("42501");
    expect(since.elapsed()).toBeLessThan(1_000);
    await vi.waitUntil(async () => (await fleet.running(account)) === 1);
    expect((await dora.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
    expect((await fleet.command(suspend, account, "--why", "a test", "--by", "eve")).status).toBe(0);
    expect(await others).toBe("57P01");
    for (const user of ["dora", account]) expect((await fleet.command(resume, user)).status).toBe(0);
  },
);

test("the list of sessions shows who is connected where, and how many people they have read", async () => {
  const anna = await connect(proxies[1], "anna");
  await anna.query("select id from public.customers where id <= 7");
  await vi.waitUntil(
    async () => {
      const { said } = await fleet.command(sessions);
      const line = said.split("\n").find((text) => text.startsWith("anna"));
      return line !== undefined && /agent +\S+ +127\.0\.0\.1 .* 7$/.test(line);
    },
    { interval: 200 },
  );
  await anna.end();
  await vi.waitUntil(async () => !(await fleet.command(sessions)).said.includes("anna"), {
    interval: 200,
  });
});

test("a command that names nobody, says no reason or reaches nothing says so and changes nothing", async () => {
  expect(await fleet.command(suspend, "--why", "x")).toMatchObject({ status: 2 });
  expect(await fleet.command(suspend, "anna")).toMatchObject({
    status: 2,
    said: expect.stringContaining("--why"),
  });
  expect(await fleet.command(resume, "anna")).toMatchObject({
    status: 1,
    said: expect.stringContaining("is not suspended"),
  });
  const nowhere = await suspend(
    ["anna", "--why=x", "--audit", "/nowhere", "--config", "/dev/null"],
    { output: { write: () => {} }, errors: { write: () => {} } },
    {},
  );
  expect(nowhere).toBe(1);
  expect(await failure(connect(proxies[0], "anna"))).toBe("it did not fail");
});
