import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { trustRedis } from "../app/state-places.ts";
import { type AnchorFile, readAnchors } from "../audit/anchor.ts";
import { anchorLines } from "../audit/redis-places.ts";
import { connectRedis, parseRedisUrl } from "../fleet/redis-url.ts";
import { misused, type Wrong } from "./streams.ts";

/** The flags that say where anchors were kept. */
export const ANCHOR_FLAGS = {
  anchors: { type: "string" },
  redis: { type: "string" },
  "redis-ca": { type: "string" },
} as const;

interface Values {
  readonly anchors?: string;
  readonly redis?: string;
  readonly "redis-ca"?: string;
}

/** Undefined where no place is named. */
export async function readKeptAnchors(values: Values): Promise<AnchorFile | undefined | Wrong> {
  const { anchors, redis, "redis-ca": redisCa } = values;
  if (redisCa !== undefined && redis?.startsWith("rediss") !== true)
    return misused("--redis-ca: needs a --redis that begins with rediss");
  const told = [
    ...(anchors === undefined ? [] : [await readFile(anchors, "utf8")]),
    ...(redis === undefined ? [] : [await askRedis(redis, redisCa)]),
  ];
  return told.length === 0 ? undefined : readAnchors(told.join("\n"));
}

async function askRedis(redis: string, redisCa: string | undefined): Promise<string> {
  trustRedis({ redis, redisCa });
  const client = connectRedis(parseRedisUrl(redis), { commandTimeout: PATIENCE });
  client.on("error", () => {});
  try {
    if (client.status !== "ready") await once(client, "ready", { signal: AbortSignal.timeout(PATIENCE) });
    return await anchorLines(client);
  } catch {
    // The client's own errors may repeat its address, which may hold a password.
    throw new Error("--redis: Redis does not answer");
  } finally {
    client.disconnect();
  }
}

const PATIENCE = 5_000;
