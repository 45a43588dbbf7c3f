import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { findProgram, type Program } from "./debian.ts";
import { endTied, readyTied, spawnTied } from "./tied.ts";

export interface RedisOptions {
  /** A free port if absent. */
  readonly port?: number;
  /** A node of a Redis Cluster, which also listens on a port for its `bus`. */
  readonly isClustered?: boolean;
  /** Additional arguments of redis-server. */
  readonly args?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  /** The port for the other nodes of a Cluster; undefined if the Redis is not in one. */
  readonly busPort: number | undefined;
  readonly way: string;
  readonly pid: number;
  /** Stops in an orderly way; its data is lost. */
  stop(): Promise<void>;
  /** Like a loss of power: clients are not notified. */
  kill(): Promise<void>;
}

/** Starts a Redis that stores nothing on disk. */
export async function launchRedis({
  port,
  isClustered = false,
  args = [],
  environment = {},
}: RedisOptions): Promise<RedisServer> {
  const found = await findRedis();
  const program = { ...found, environment: { ...found.environment, ...environment } };
  const listen = port ?? (await freePort());
  // By default Redis would use port + 10000, which may be taken.
  const busPort = isClustered ? await freePort() : undefined;
  const folder = await mkdtemp(join(tmpdir(), "sluice-redis-"));
  const server = spawnTied(program, [
    ...["--port", String(listen), "--bind", "127.0.0.1", "--dir", folder, "--databases", "1024"],
    ...["--save", "", "--appendonly", "no", "--daemonize", "no", ...cluster(busPort), ...args],
  ]);
  await readyTied(server, "Ready to accept connections");
  return { ...running(server, folder, listen, program), busPort };
}

function cluster(busPort: number | undefined): readonly string[] {
  if (busPort === undefined) return [];
  return [
    "--cluster-enabled",
    "yes",
    "--cluster-announce-ip",
    "127.0.0.1",
    "--cluster-port",
    String(busPort),
  ];
}

/** Starts a Sentinel (Redis docs, "High availability with Redis Sentinel"), which writes to its own configuration. */
export async function launchSentinel(lines: readonly string[]): Promise<RedisServer> {
  const program = await findRedis();
  const listen = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "sluice-sentinel-"));
  const file = join(folder, "sentinel.conf");
  await writeFile(file, [`port ${listen}`, "bind 127.0.0.1", `dir ${folder}`, ...lines, ""].join("\n"));
  const server = spawnTied(program, [file, "--sentinel"]);
  await readyTied(server, "+monitor");
  return running(server, folder, listen, program);
}

function running(server: ChildProcess, folder: string, listen: number, program: Program): RedisServer {
  const end = async (signal: NodeJS.Signals) => {
    await endTied(server, signal);
    await rm(folder, { recursive: true, force: true });
  };
  return {
    url: `redis://127.0.0.1:${listen}`,
    port: listen,
    busPort: undefined,
    way: program.way,
    pid: server.pid ?? 0,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
  };
}

async function findRedis(): Promise<Program> {
  const given = process.env.REDIS_SERVER_BIN;
  if (given) return { path: given, environment: {}, way: `REDIS_SERVER_BIN (${given})` };
  return findProgram("redis-server", "valkey-server");
}
