import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { type RedisServer, startRedis } from "../harness/redis.ts";
import type { TestSluice } from "../harness/sluice.ts";
import { connect, type Fleet, failure, fleetOf } from "./fleet.ts";

const POLICY = `version: 1
tables:
  public.tickets: { subject: customer_id }
roles:
  agent:
    users: [anna]
    reads: [public.tickets]
    writes: [public.tickets]
    sees: all
    budget: { 1d: { changes: 100 } }
    role_budget: { 1d: { changes: 150 } }
  other: { users: [ben], extends: agent, on_counter_loss: { grace: 0.1 } }
`;

let database: TestDatabase;
let redis: RedisServer;
let fleet: Fleet;
let proxies: readonly TestSluice[];

beforeAll(async () => {
  database = await freshDatabase("changes_fleet");
  await supportSchema(database.uri);
  await database.query("GRANT ALL ON tickets TO PUBLIC");
  redis = await startRedis({});
  fleet = await fleetOf(database, redis.url, POLICY);
  proxies = await Promise.all([fleet.proxy(), fleet.proxy()]);
});
afterAll(async () => {
  await Promise.all(proxies.map((each) => each.close()));
  await fleet.close();
  await redis.kill();
  await database.drop();
});

const take = (rows: number, who = "thief") => `update tickets set assignee = '${who}' where id <= ${rows}`;

async function taken(who: string): Promise<number> {
  const { rows } = await database.query<{ count: number }>(
    `select count(*)::int from tickets where assignee = '${who}'`,
  );
  return rows[0]?.count ?? -1;
}

test("what is written through one proxy is counted for the other, and nothing of it twice", async () => {
  const [here, there] = await Promise.all(proxies.map((each) => connect(each, "anna")));
  expect((await here?.query(take(60)))?.rowCount).toBe(60);
  await expect(there?.query(take(41, "second"))).rejects.toMatchObject({
    code: "53400",
    constraint: "roles.agent.budget.1d.changes",
    detail: expect.stringMatching(/60 of 100 changes used within 1d\. .*would have written 41 rows/),
  });
  expect(await taken("second")).toBe(0);
  // Of a write that did not fit nothing was counted.
  expect((await there?.query(take(40, "second")))?.rowCount).toBe(40);
  expect(await failure(here?.query(take(1)) ?? Promise.resolve())).toBe("53400");
});

test("while Redis stands still nothing is committed that it would count, but for the grace of the role", async () => {
  const [anna] = await Promise.all(proxies.map((each) => connect(each, "anna")));
  const bens = await Promise.all(proxies.map((each) => connect(each, "ben")));
  process.kill(redis.pid, "SIGSTOP");
  expect(await failure(anna?.query(take(2, "lost")) ?? Promise.resolve())).toBe("58000");
  for (const ben of bens) {
    expect((await ben.query(take(10, "lent"))).rowCount).toBe(10);
    expect(await failure(ben.query(take(1, "lost")))).toBe("58000");
  }
  process.kill(redis.pid, "SIGCONT");
  for (const proxy of proxies)
    await vi.waitUntil(async () => (await proxy.metric("sluice_counters_up")) === 1);
  expect(await taken("lost")).toBe(0);
  const [here, there] = bens;
  // A charge that was under way when Redis was lost counts, and what was lent for it as well (docs/metering.md).
  await expect(here?.query(take(81, "late"))).rejects.toMatchObject({
    code: "53400",
    detail: expect.stringMatching(/[2-4]0 of 100 changes used/),
  });
  expect((await there?.query(take(60, "late")))?.rowCount).toBe(60);
});
