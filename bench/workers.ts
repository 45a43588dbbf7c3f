import { limitCpu } from "./cpu-limit.ts";
import { median, ratios, table, withSpread } from "./figures.ts";
import { type Measured, runPgbench } from "./pgbench.ts";
import type { Reached } from "./point-queries.ts";
import { familyOf } from "./processes.ts";
import { type SluiceOptions, startSluice, type Upstream, uriAt } from "./targets.ts";
import { ACCOUNTS } from "./world.ts";

/** Of one CPU, for each worker: so little that clients and database always have enough left, and the workers are what is short. */
const SHARE = 0.3;
const COUNTS = [1, 2] as const;
const CLIENTS = 16;
/** With so little CPU a moment of somebody else's shows in each figure: they are taken over a longer time. */
const LONG = 2;
/**
 * Seconds. Code that is not fast yet gets little CPU to become so, and logins of such workers take longer than a short
 * round: then two workers look as if they stood still.
 */
const WARM_UP = 10;

interface Crew {
  readonly workers: number;
  readonly rounds: Measured[];
}

/** pgbench -S through one worker and through two that have a share of a CPU each; undefined where shares cannot be set. */
export async function measureWorkers(
  upstream: Upstream,
  options: SluiceOptions,
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
): Promise<readonly Crew[] | undefined> {
  const crews: (Crew & { readonly uri: string; readonly pid: number })[] = [];
  const endings: (() => Promise<void>)[] = [];
  try {
    for (const workers of COUNTS) {
      const flags = [...(options.flags ?? []), "--workers", String(workers)];
      const proxy = await startSluice(upstream, { ...options, flags });
      endings.push(() => proxy.stop());
      const family = await familyOf(proxy.pid);
      const crew = { workers, uri: uriAt(proxy.port, "app"), pid: proxy.pid, rounds: [] };
      await runPgbench({ name: "warm", ...crew }, load(WARM_UP));
      for (const pid of workers === 1 ? [proxy.pid] : family.slice(1)) {
        const unlimit = await limitCpu(pid, SHARE);
        if (unlimit === undefined) return undefined;
        endings.unshift(() => proxy.stop().then(unlimit));
      }
      crews.push(crew);
    }
    for (let round = 0; round < rounds; round++) {
      for (const { rounds: seen, uri, pid, workers } of crews) {
        const target = { name: `${workers} workers`, uri, pid };
        await runPgbench(target, load(1));
        seen.push(await runPgbench(target, load(LONG * seconds)));
      }
    }
    return crews;
  } finally {
    for (const end of endings) await end();
  }
}

function load(seconds: number) {
  return { mode: "prepared", clients: CLIENTS, seconds, accounts: ACCOUNTS } as const;
}

export function describeWorkers(crews: readonly Crew[] | undefined): string {
  if (crews === undefined) return "Not measured: control groups cannot be made here.";
  const rows = crews.map(({ workers, rounds }) => [
    String(workers),
    median(rounds.map(({ throughput }) => throughput)).toFixed(0),
    (median(rounds.map(({ cpu }) => cpu)) * 1000).toFixed(0),
  ]);
  return table(["workers", "queries/s", "CPU µs a query"], rows);
}

export function judgeWorkers(crews: readonly Crew[] | undefined): readonly Reached[] {
  const [one, two] = (crews ?? []).map(({ rounds }) => rounds.map(({ throughput }) => throughput));
  if (one === undefined || two === undefined) return [];
  const gains = ratios(two, one);
  return [
    {
      what: `app: throughput of 2 workers × one, each with ${SHARE * 100} % of a CPU`,
      target: "≥ 1.7",
      reached: withSpread(gains, 2),
      holds: median(gains) >= 1.7,
    },
  ];
}
