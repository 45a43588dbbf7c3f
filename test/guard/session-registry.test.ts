import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readSessions, registerSessions, type SessionInfo } from "../../proxy/fleet/session-registry.ts";
import { createLog } from "../../proxy/log.ts";
import { type RedisServer, startRedis } from "../harness/redis.ts";

let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis({});
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const session = (user: string): SessionInfo => ({
  ...{ id: user, user, role: "agent", database: "support", address: "10.0.0.1", application: "psql" },
  since: 0,
});

test("who is connected is told at once, again when it changes, and kept alive while it does not", {
  timeout: 30_000,
}, async () => {
  const options = {
    ...{ url: server.url, key: randomBytes(32), commandTimeout: 1_000 },
    log: createLog({ level: "silent" }),
  };
  const sessions = { changes: 0, users: ["anna"], lists: 0 };
  const stop = registerSessions(options, {
    get changes() {
      return sessions.changes;
    },
    list() {
      sessions.lists++;
      return sessions.users.map(session);
    },
  });
  const connected = async () => (await readSessions(options)).map(({ user }) => user);
  const keys = () => redis.keys("sluice:sessions:*");
  await expect.poll(keys).toHaveLength(1);
  const [key = ""] = await keys();
  expect(await connected()).toEqual(["anna"]);
  const lists = sessions.lists;

  // Renewed: it would have 10 s and less and less of them.
  await redis.pexpire(key, 5_000);
  await expect.poll(() => redis.pttl(key)).toBeGreaterThan(5_000);
  expect(sessions.lists).toBe(lists);

  sessions.users = ["anna", "ben"];
  sessions.changes++;
  await expect.poll(connected).toEqual(["anna", "ben"]);

  // A Redis that has lost it is told again.
  await redis.flushall();
  await expect.poll(connected).toEqual(["anna", "ben"]);

  await stop();
  expect(await connected()).toEqual([]);
});
