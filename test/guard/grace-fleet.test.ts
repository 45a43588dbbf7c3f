import type pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { type RedisServer, startRedis } from "../harness/redis.ts";
import type { TestSluice } from "../harness/sluice.ts";
import { connect, type Fleet, failure, fleetOf } from "./fleet.ts";

const POLICY = `version: 1
tables:
  public.customers: { subject: id }
roles:
  agent: { users: [anna], reads: [public.customers], budget: { 1d: 30 }, on_counter_loss: { grace: 0.1 } }
  careful: { users: [ben], reads: [public.customers], budget: { 1d: 30 }, on_counter_loss: closed }
`;

let database: TestDatabase;
let redis: RedisServer;
let fleet: Fleet;
let proxies: readonly TestSluice[];

beforeAll(async () => {
  database = await freshDatabase("grace_fleet");
  await supportSchema(database.uri);
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

test("while Redis stands still closed roles read nobody, others their share on each proxy; then all of it counts", async () => {
  const annas = await Promise.all(proxies.map((each) => connect(each, "anna")));
  const [ben] = await Promise.all(proxies.map((each) => connect(each, "ben")));
  // One by one, as a list has a price of its own.
  const read = async (client: pg.Client | undefined, from: number, count: number) => {
    for (let id = from; id < from + count; id++)
      expect((await client?.query("select id from public.customers where id = $1", [id]))?.rowCount).toBe(1);
  };
  process.kill(redis.pid, "SIGSTOP");
  for (const [i, anna] of annas.entries()) {
    await read(anna, 100 * (i + 1), 3);
    await expect(read(anna, 100 * (i + 1) + 3, 1)).rejects.toMatchObject({
      code: "58000",
      detail: 'User "anna": 3 of 3 people used within 1d, which is this proxy\'s share.',
      constraint: "roles.agent.budget.1d",
    });
    await read(anna, 100 * (i + 1), 3);
  }
  expect(await failure(read(ben, 1, 1))).toBe("58000");
  // Nor is anything else told that people's rows decide.
  const search = "select id from public.customers where name = 'nobody'";
  expect(await failure(ben?.query(search) ?? Promise.resolve())).toBe("58000");
  process.kill(redis.pid, "SIGCONT");
  for (const proxy of proxies)
    await vi.waitUntil(async () => (await proxy.metric("sluice_counters_up")) === 1);
  const [here, there] = annas;
  await read(here, 300, 24);
  expect(await failure(read(there, 500, 1))).toBe("53400");
  await read(ben, 1, 30);
});
