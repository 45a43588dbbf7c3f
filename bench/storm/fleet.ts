import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { devNull, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import pg from "pg";
import { freePort, type RunningPostgres, startPostgres } from "../../proxy/embedded/postgres.ts";
import { launchRedis, type RedisServer } from "../../test/harness/redis-process.ts";
import { DATABASE } from "../world.ts";
import { NAME_MASKS, policy, TABLES } from "./world.ts";

const HOST = "127.0.0.1";

/** One `sluice serve`, on ports that outlive it. */
export interface Instance {
  readonly name: string;
  readonly port: number;
  readonly admin: number;
  readonly audit: string;
  child: ChildProcess | undefined;
  /** What it wrote to standard error: warnings, errors and what no log has. */
  lastWords: string;
}

/** All that the storm goes over. */
export interface Fleet {
  readonly folder: string;
  /** The fleet's secret, in hexadecimal digits. */
  readonly key: string;
  readonly instances: readonly Instance[];
  readonly redisPort: number;
  redis: RedisServer;
  postgres: RunningPostgres;
  /** Compiled. */
  readonly main: string;
  /** Swaps of the policy so far. */
  swaps: number;
}

/** Everything is on the disk of a folder of its own, so that servers come back with what they had. */
export async function startFleet(main: string): Promise<Fleet> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-storm-"));
  // The server runs as another user.
  await chmod(folder, 0o755);
  await mkdir(join(folder, "redis"));
  await mkdir(join(folder, "policies"));
  const redisPort = await freePort();
  const [postgres, redis] = await Promise.all([launchPostgres(folder), launchCounters(folder, redisPort)]);
  const fleet: Fleet = {
    ...{ folder, main, redisPort, redis, postgres, swaps: 0 },
    key: randomBytes(32).toString("hex"),
    instances: [await instance(folder, "one"), await instance(folder, "two")],
  };
  await execute(postgres.uri, `CREATE DATABASE ${DATABASE}`);
  await execute(controlUri(fleet), TABLES);
  await execute(controlUri(fleet), "VACUUM ANALYZE");
  await swapPolicy(fleet, policy(NAME_MASKS.first));
  await symlink(join("..data", "storm.yaml"), join(folder, "policies", "storm.yaml"));
  return fleet;
}

async function instance(folder: string, name: string): Promise<Instance> {
  return {
    ...{ name, port: await freePort(), admin: await freePort(), audit: join(folder, `audit-${name}`) },
    ...{ child: undefined, lastWords: "" },
  };
}

export function launchPostgres(folder: string, port?: number): Promise<RunningPostgres> {
  return startPostgres({
    ...(port === undefined ? {} : { port }),
    dataFolder: join(folder, "data"),
    superuser: "postgres",
    auth: "trust",
    settings: { fsync: "off", max_connections: "1200", shared_buffers: "256MB" },
  });
}

/** What it has said is counted is on its disk: a restart loses nothing. */
export function launchCounters(folder: string, port: number): Promise<RedisServer> {
  const durable = ["--dir", join(folder, "redis"), "--appendonly", "yes", "--appendfsync", "always"];
  return launchRedis({ port, args: durable });
}

export function controlUri({ postgres }: Fleet): string {
  return `postgresql://postgres@${HOST}:${postgres.port}/${DATABASE}`;
}

/** Resolves when it is ready to serve. */
export async function startInstance(fleet: Fleet, it: Instance, workers: number): Promise<void> {
  const child = spawn(
    "setpriv",
    [
      ...["--pdeathsig=KILL", process.execPath, fleet.main, "serve", "--config", devNull],
      ...["--log-level", "warn", "--workers", String(workers), "--drain-timeout", "3s"],
      ...["--listen", `${HOST}:${it.port}`, "--admin", `${HOST}:${it.admin}`],
      ...["--policy", join(fleet.folder, "policies"), "--redis", `redis://${HOST}:${fleet.redisPort}`],
      ...["--audit", it.audit, "--audit-segment", "32MB"],
    ],
    {
      env: { ...process.env, SLUICE_UPSTREAM: controlUri(fleet), SLUICE_KEY: fleet.key },
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
  it.child = child;
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    it.lastWords = `${it.lastWords}${text}`.slice(-100_000);
  });
  while (child.exitCode === null && child.signalCode === null) {
    if (await isWell(it, workers).catch(() => false)) return;
    await setTimeout(50);
  }
  throw new Error(`instance ${it.name} ended:\n${it.lastWords.slice(-2_000)}`);
}

/** Resolves when the process is gone; with SIGTERM it drains first. */
export async function endInstance({ child }: Instance, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((done) => {
    child.once("exit", () => done());
    child.kill(signal);
  });
}

/** Whether it serves, with all of its processes. */
export async function isWell(it: Instance, workers: number): Promise<boolean> {
  if (!(await fetch(`http://${HOST}:${it.admin}/readyz`)).ok) return false;
  return workers === 1 || (await metricOf(it, "sluice_workers", "")) === workers;
}

/** The sum of a metric's series whose labels hold this text. */
export async function metricOf({ admin }: Instance, name: string, labels: string): Promise<number> {
  const text = await (await fetch(`http://${HOST}:${admin}/metrics`)).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith(name) && /^[ {]/.test(line.slice(name.length)))
    .filter((line) => line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

/** As a kubelet does it: a new folder, and a symbolic link that is renamed over the old one. */
export async function swapPolicy(fleet: Fleet, text: string): Promise<void> {
  const policies = join(fleet.folder, "policies");
  const old = `..version_${fleet.swaps}`;
  fleet.swaps++;
  const name = `..version_${fleet.swaps}`;
  await mkdir(join(policies, name));
  await writeFile(join(policies, name, "storm.yaml"), text);
  await symlink(name, join(policies, "..data_tmp"));
  await rename(join(policies, "..data_tmp"), join(policies, "..data"));
  await rm(join(policies, old), { recursive: true, force: true });
}

export async function stopFleet(fleet: Fleet): Promise<void> {
  await Promise.all(fleet.instances.map((it) => endInstance(it, "SIGTERM")));
  await Promise.all([fleet.postgres.stop(), fleet.redis.stop()]);
  await rm(fleet.folder, { recursive: true, force: true });
}

async function execute(uri: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
