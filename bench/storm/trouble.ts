import { readdir, readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { Redis } from "ioredis";
import pg from "pg";
import {
  controlUri,
  endInstance,
  type Fleet,
  type Instance,
  isWell,
  launchCounters,
  launchPostgres,
  metricOf,
  startInstance,
  swapPolicy,
} from "./fleet.ts";
import { NAME_MASKS, policy } from "./world.ts";

export type TroubleKind =
  /** A policy that is right, and one that is not. */
  | "policy"
  | "bad policy"
  /** Redis is killed and comes back; Redis answers nobody for a while. */
  | "redis"
  | "stall"
  /** The database is shut down and comes back; one of its processes is killed, and all sessions with it. */
  | "database"
  | "crash"
  /** A proxy is killed and comes back; one of its workers; each proxy in turn is told to end, and comes back. */
  | "proxy"
  | "worker"
  | "rolling";

export interface Trouble {
  readonly kind: TroubleKind;
  /** Unix times in milliseconds: from the deed until all is well again. */
  readonly from: number;
  readonly to: number;
}

export interface Storm {
  readonly fleet: Fleet;
  /** Processes that each instance has, or is about to have. */
  workers: number;
  readonly troubles: Trouble[];
  /** What did not come about within its time. */
  readonly problems: string[];
}

/** No trouble takes longer to be over. */
const LONGEST = 30_000;
const MASKS = Object.values(NAME_MASKS);

/** Makes a trouble, waits until all is well again, and notes when that was. */
export async function make(storm: Storm, kind: TroubleKind): Promise<void> {
  const from = Date.now();
  await DEEDS[kind](storm);
  for (const it of storm.fleet.instances) {
    await until(storm, `${kind}: instance ${it.name} is not well again`, () => isWell(it, storm.workers));
  }
  storm.troubles.push({ kind, from, to: Date.now() });
}

const DEEDS: Readonly<Record<TroubleKind, (storm: Storm) => Promise<void>>> = {
  policy: (storm) => reload(storm, otherMask(storm), "success"),

  /** Somebody puts it right soon: a proxy that starts meanwhile would not. */
  async "bad policy"(storm) {
    await reload(storm, `${policy(NAME_MASKS.first)}modus: enforce\n`, "failure");
    await reload(storm, otherMask(storm), "success");
  },

  async redis({ fleet }) {
    await fleet.redis.kill();
    await setTimeout(1_500);
    fleet.redis = await launchCounters(fleet.folder, fleet.redisPort);
  },

  async stall({ fleet }) {
    const redis = new Redis(fleet.redisPort, "127.0.0.1", { lazyConnect: true });
    await redis.connect();
    await redis.call("CLIENT", "PAUSE", "1500", "ALL");
    redis.disconnect();
    await setTimeout(1_500);
  },

  async database({ fleet }) {
    const { port } = fleet.postgres;
    await fleet.postgres.stop();
    await setTimeout(500);
    fleet.postgres = await launchPostgres(fleet.folder, port);
  },

  async crash({ fleet }) {
    const client = new pg.Client({ connectionString: controlUri(fleet) });
    // It goes down with the others.
    client.on("error", () => {});
    await client.connect();
    const { rows } = await client.query<{ pid: number }>(
      "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'storm-%' LIMIT 1",
    );
    if (rows[0] !== undefined) process.kill(rows[0].pid, "SIGKILL");
    await client.end().catch(() => {});
  },

  async proxy({ fleet, workers }) {
    const it = victim(fleet);
    await endInstance(it, "SIGKILL");
    await setTimeout(500);
    await startInstance(fleet, it, workers);
  },

  async worker(storm) {
    const it = victim(storm.fleet);
    const pid = it.child?.pid ?? 0;
    const restarts = () => metricOf(it, "sluice_worker_restarts_total", "");
    const before = await restarts();
    const [worker] = await childrenOf(pid);
    if (worker === undefined) throw new Error("no worker to kill");
    process.kill(worker, "SIGKILL");
    await until(storm, "the killed worker has no successor", async () => (await restarts()) > before);
  },

  async rolling({ fleet, workers }) {
    for (const it of fleet.instances) {
      await endInstance(it, "SIGTERM");
      await startInstance(fleet, it, workers);
    }
  },
};

function otherMask({ fleet }: Storm): string {
  return policy(MASKS[fleet.swaps % MASKS.length] ?? NAME_MASKS.first);
}

/** The first instance is spared, so that its memory can be looked at over a long time. */
function victim({ instances }: Fleet): Instance {
  const it = instances.at(-1);
  if (it === undefined) throw new Error("no instance");
  return it;
}

async function reload(storm: Storm, text: string, result: "success" | "failure"): Promise<void> {
  const { fleet } = storm;
  const read = (it: Instance) => metricOf(it, "sluice_policy_reloads_total", `result="${result}"`);
  const before = await Promise.all(fleet.instances.map(read));
  await swapPolicy(fleet, text);
  for (const [i, it] of fleet.instances.entries()) {
    const enough = (before[i] ?? 0) + storm.workers;
    await until(
      storm,
      `instance ${it.name} did not read a policy (${result})`,
      async () => (await read(it)) >= enough,
    );
  }
}

async function until(storm: Storm, problem: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + LONGEST;
  while (!(await holds().catch(() => false))) {
    if (Date.now() > end) {
      storm.problems.push(problem);
      return;
    }
    await setTimeout(100);
  }
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const lists = tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, "utf8"));
  return (await Promise.all(lists))
    .flatMap((list) => list.trim().split(" "))
    .filter(Boolean)
    .map(Number);
}
