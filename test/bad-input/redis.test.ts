import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { POLICY } from "../clients/policy.ts";
import {
  freshDatabase,
  PASSWORDS,
  type SupportUser,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { startRedis } from "../harness/redis.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("redis away");
  await supportSchema(database.uri);
});
afterAll(() => database.drop());

async function withClient(sluice: TestSluice, user: SupportUser, act: (client: pg.Client) => Promise<void>) {
  const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
  await client.connect();
  try {
    await act(client);
  } finally {
    await client.end();
  }
}

const codeOf = (result: Promise<unknown>) =>
  result.then(
    () => undefined,
    ({ code }: pg.DatabaseError) => code,
  );

/** Closed for reads that are counted; everything else goes on. */
async function failsClosed(sluice: TestSluice, id: number): Promise<void> {
  await withClient(sluice, "anna", async (anna) => {
    expect(await codeOf(anna.query("SELECT name FROM customers WHERE id = $1", [id]))).toBe("58000");
    expect(await codeOf(anna.query(`COPY (SELECT name FROM customers WHERE id = ${id}) TO STDOUT`))).toBe(
      "58000",
    );
    expect((await anna.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    expect((await anna.query("SELECT count(*) FROM pg_class")).rowCount).toBe(1);
  });
  await withClient(sluice, "helpdesk_app", async (app) => {
    expect((await app.query("SELECT * FROM customers")).rowCount).toBe(1010);
  });
  expect(await sluice.metric("sluice_counters_up")).toBe(0);
  expect((await fetch(`${sluice.adminUrl}/readyz`)).status).toBe(503);
}

const reads = (sluice: TestSluice, id: number) =>
  withClient(sluice, "anna", async (anna) => {
    expect((await anna.query("SELECT id FROM customers WHERE id = $1", [id])).rowCount).toBe(1);
  });

test("Redis away at the start: counted reads are refused with 58000 until it comes", async () => {
  const port = await freePort();
  const sluice = await startSluice({
    policy: POLICY,
    upstream: database.uri,
    redis: `redis://127.0.0.1:${port}`,
    redisIsAway: true,
  });
  try {
    await failsClosed(sluice, 7);
    const redis = await startRedis({ port });
    await expect.poll(() => sluice.metric("sluice_counters_up")).toBe(1);
    await reads(sluice, 7);
    await redis.stop();
  } finally {
    await sluice.close();
  }
});

test("Redis lost in the middle: the same, in sessions that were open as well", async () => {
  const redis = await startRedis({});
  const sluice = await startSluice({ policy: POLICY, upstream: database.uri, redis: redis.url });
  try {
    await expect.poll(() => sluice.metric("sluice_counters_up")).toBe(1);
    await withClient(sluice, "anna", async (anna) => {
      expect((await anna.query("SELECT id FROM customers WHERE id = $1", [1])).rowCount).toBe(1);
      await redis.kill();
      expect(await codeOf(anna.query("SELECT id FROM customers WHERE id = $1", [2]))).toBe("58000");
      expect((await anna.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    });
    await failsClosed(sluice, 3);
    const again = await startRedis({ port: redis.port });
    await expect.poll(() => sluice.metric("sluice_counters_up")).toBe(1);
    await reads(sluice, 4);
    await again.stop();
  } finally {
    await sluice.close();
  }
});
