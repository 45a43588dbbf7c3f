import { Redis } from "ioredis";
import { vi } from "vitest";
import { createLog } from "../../proxy/log.ts";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { createRedisStore, type RedisStoreOptions } from "../../proxy/meter/store-redis.ts";
import type { Bench } from "./claims.ts";

export const KEY = Buffer.alloc(32, 7);
export const SILENT = createLog({ level: "silent" });

/** Makes everybody's last read earlier: the script's clock is Redis' own, so the past moves instead. */
const AGE_PEOPLE = `
for _, key in ipairs(redis.call('KEYS', '*:people')) do
  local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    redis.call('ZADD', key, tonumber(entries[i + 1]) - ARGV[1], entries[i])
  end
end`;

export async function openRedisStore(
  url: string,
  options: Partial<RedisStoreOptions> = {},
): Promise<CounterStore> {
  // A busy machine's Redis is slow: only tests of the time limit are about that.
  const store = createRedisStore({ url, key: KEY, log: SILENT, commandTimeout: 5_000, ...options });
  await becomes(store, "ready");
  return store;
}

export async function becomes(store: CounterStore, state: "ready" | "away"): Promise<void> {
  await vi.waitUntil(() => store.ready === (state === "ready"), { timeout: 10_000, interval: 5 });
}

/** A store on a database of its own, and a second connection that moves its time. */
export async function redisBench(url: string): Promise<Bench & { readonly redis: Redis }> {
  const redis = new Redis(url);
  return {
    redis,
    store: await openRedisStore(url),
    now: async () => {
      const [seconds, microseconds] = await redis.time();
      return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
    },
    advance: async (_, milliseconds) => {
      if (milliseconds > 0) await redis.eval(AGE_PEOPLE, 0, milliseconds);
    },
  };
}
