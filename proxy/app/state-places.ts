import { join } from "node:path";
import { trust } from "../fleet/redis-logins.ts";
import { parseRedisUrl } from "../fleet/redis-url.ts";
import { deriveKeys } from "../keys/secret.ts";
import type { SuspensionsOptions } from "../orders/suspensions.ts";
import type { Settings } from "../settings/settings.ts";
import { readAuthorities } from "../wire/tls.ts";

/** The file of the suspensions of a proxy with these settings. */
export function suspensionsFile(settings: Pick<Settings, "audit">): string {
  return join(settings.audit, "suspensions.jsonl");
}

/** The file of the cases of a proxy with these settings. */
export function casesFile(settings: Pick<Settings, "audit">): string {
  return join(settings.audit, "cases.jsonl");
}

/** The file of the behaviour profiles of a proxy without Redis. */
export function profilesFile(settings: Pick<Settings, "audit">): string {
  return join(settings.audit, "profiles.jsonl");
}

/** The authorities for the fleet's Redis (PEM). Throws if the file is invalid. */
export function redisCaOf({ redisCa }: Pick<Settings, "redisCa">): string | undefined {
  return redisCa === undefined ? undefined : readAuthorities(redisCa, "--redis-ca");
}

/**
 * Sets the authorities of --redis-ca for the fleet's Redis, before the first connection to it, and returns them. Throws
 * if the file or the address is invalid.
 */
export function trustRedis(settings: Pick<Settings, "redis" | "redisCa">): string | undefined {
  const ca = redisCaOf(settings);
  if (settings.redis !== undefined) trust(parseRedisUrl(settings.redis), ca);
  return ca;
}

/** How to reach the fleet's Redis; undefined without one. */
export function redisOf(settings: Settings): NonNullable<SuspensionsOptions["redis"]> | undefined {
  if (settings.redis === undefined || settings.key === undefined) return undefined;
  const { counters } = deriveKeys(settings.key);
  return { url: settings.redis, key: counters, commandTimeout: settings.commandTimeout };
}
