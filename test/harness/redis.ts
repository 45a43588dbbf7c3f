import { Redis } from "ioredis";
import { inject } from "vitest";
import { launchRedis, launchSentinel } from "./redis-process.ts";

export type { RedisOptions, RedisServer } from "./redis-process.ts";

/** A Redis of the test's own, which the test stops or kills. */
export const startRedis = launchRedis;
export const startSentinel = launchSentinel;

/** The URL of an empty logical database of the run's Redis, for the caller alone. */
export async function redisUrl(): Promise<string> {
  const url = inject("redisUrl");
  const redis = new Redis(url);
  try {
    // Database 0 holds the number of the last database that was handed out.
    const ticket = await redis.incr("sluice-test:database");
    const database = 1 + (ticket % Math.max(1, inject("redisDatabases") - 1));
    await redis.select(database);
    await redis.flushdb();
    const fresh = new URL(url);
    fresh.pathname = `/${database}`;
    return fresh.href;
  } finally {
    redis.disconnect();
  }
}
