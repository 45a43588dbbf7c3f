import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { findLibrary } from "./debian.ts";
import { launchRedis, type RedisServer } from "./redis-process.ts";

/** A Redis with a clock that the test sets. */
export interface ClockedRedis {
  readonly url: string;
  /** Sets its clock this far ahead of ours, or behind if negative. It keeps its data; none of its keys has expired. */
  setClock(ahead: { readonly days: number }): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts a Redis under datefudge, which reads the offset once: for another offset Redis starts again from its dump,
 * like a machine that boots with a wrong clock. (libfaketime could do it without a restart, but it and jemalloc each
 * need the other to start.)
 */
export async function startClockedRedis(): Promise<ClockedRedis> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-clock-"));
  const library = await datefudge();
  const port = await freePort();
  const start = (days: number): Promise<RedisServer> =>
    launchRedis({
      port,
      args: ["--dir", folder],
      environment: { LD_PRELOAD: library, DATEFUDGE: String(-days * 86_400) },
    });
  let server = await start(0);
  return {
    url: server.url,
    setClock: async ({ days }) => {
      const redis = new Redis(server.url);
      await redis.save();
      redis.disconnect();
      await server.stop();
      server = await start(days);
    },
    stop: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function datefudge(): Promise<string> {
  const { root } = await findLibrary("datefudge");
  const libraries = join(root, "usr/lib");
  const triplet = (await readdir(libraries)).find((name) => name.includes("-linux-gnu"));
  if (triplet === undefined) throw new Error("datefudge's package holds no library for this machine");
  return join(libraries, triplet, "datefudge/datefudge.so");
}
