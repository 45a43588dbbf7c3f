import { Cluster, type Redis } from "ioredis";
import type { Log } from "../log.ts";
import type { RedisClient } from "./redis-url.ts";

/**
 * A Redis that evicts keys when it is full silently forgets who was read; some hosted services are configured so by
 * default. Logs an error for each such server; a server that does not answer INFO is skipped.
 */
export async function warnOfEviction(client: RedisClient, log: Log): Promise<void> {
  const servers = client instanceof Cluster ? client.nodes("master") : [client];
  for (const server of servers) {
    const policy = await evictionPolicy(server).catch(() => undefined);
    if (policy === undefined || policy === "noeviction") continue;
    log.error({ policy }, "Redis forgets counters when it is full: set its maxmemory-policy to noeviction");
  }
}

async function evictionPolicy(server: Redis): Promise<string | undefined> {
  const memory = await server.info("memory");
  return /^maxmemory_policy:(\S+)/m.exec(memory)?.[1];
}
