import { setTimeout } from "node:timers/promises";
import { median, percentile, table } from "../figures.ts";
import { usageOf } from "../processes.ts";
import { type Checked, checkAudit, checkCounters, checkDatabase } from "./checks.ts";
import { startFleet, startInstance, stopFleet } from "./fleet.ts";
import { checkIncidents } from "./incidents.ts";
import { type Ledger, merged } from "./ledger.ts";
import type { LoadOptions } from "./load.ts";
import { make, type Storm, type TroubleKind } from "./trouble.ts";

export interface StormOptions {
  /** Sluice's compiled main.js. */
  readonly main: string;
  readonly seconds: number;
  readonly clients: number;
  /** Pieces of work a second that all clients together begin at most. */
  readonly rate: number;
  /** Starts clients, in as many processes as it likes; they work until the signal. */
  load(options: LoadOptions, stop: AbortSignal): Promise<readonly Ledger[]>;
  /** Milliseconds between two troubles. */
  readonly calm: number;
  /** Before each but the first, all proxies are started anew, one after the other. */
  readonly phases: readonly Phase[];
}

export interface Phase {
  /** Processes of each proxy. */
  readonly workers: number;
  /** One after the other, each once at least. */
  readonly troubles: readonly TroubleKind[];
}

/** What all the same happens in half an hour of bad luck, in the order of their places. */
const FIRST_HALF: readonly TroubleKind[] = [
  "policy",
  "redis",
  "bad policy",
  "database",
  "proxy",
  "stall",
  "policy",
  "crash",
];
const SECOND_HALF: readonly TroubleKind[] = [
  "policy",
  "redis",
  "worker",
  "bad policy",
  "database",
  "stall",
  "proxy",
  "policy",
  "crash",
];

export const PHASES: readonly Phase[] = [
  { workers: 1, troubles: FIRST_HALF },
  { workers: 2, troubles: SECOND_HALF },
];

export interface Outcome {
  readonly checks: readonly Checked[];
  readonly report: string;
}

/** After these a proxy, or both with their workers, may lend from a budget anew. */
const STARTS_ANEW: ReadonlySet<TroubleKind> = new Set(["proxy", "worker", "rolling"]);

/** No client gets nothing done for longer; the cancelled statements take up to 25 s where nobody cancels them. */
const LONGEST_GAP = 35_000;
/** Seconds without which growth is but the start of a process. */
const WARM = 60;
/** So much memory of one process may come and go with garbage (kB). */
const SLACK = 48 * 1024;

/** Clients work while the fleet is in trouble; then all that they saw is held against what is on record. */
export async function runStorm(options: StormOptions): Promise<Outcome> {
  const fleet = await startFleet(options.main);
  const stop = new AbortController();
  try {
    const storm: Storm = { fleet, workers: options.phases[0]?.workers ?? 1, troubles: [], problems: [] };
    await Promise.all(fleet.instances.map((it) => startInstance(fleet, it, storm.workers)));
    const memory: Sample[] = [];
    const load = options.load(
      {
        ports: fleet.instances.map(({ port }) => port),
        ...{ first: 0, end: options.clients, pause: (1_000 * options.clients) / options.rate },
      },
      stop.signal,
    );
    const sampling = sample(storm, memory, stop.signal);
    for (const [i, { workers, troubles }] of options.phases.entries()) {
      storm.workers = workers;
      if (i > 0) await make(storm, "rolling");
      await trouble(
        storm,
        troubles,
        options.calm,
        Date.now() + (options.seconds * 1_000) / options.phases.length,
      );
    }
    stop.abort();
    const ledger = merged(await load);
    await sampling;
    return await judge(storm, ledger, memory, options.seconds);
  } finally {
    stop.abort();
    await stopFleet(fleet);
  }
}

/** Each once, and then again and again, as long as there is time. */
async function trouble(
  storm: Storm,
  kinds: readonly TroubleKind[],
  calm: number,
  end: number,
): Promise<void> {
  if (kinds.length === 0) await setTimeout(end - Date.now());
  for (let i = 0; i < kinds.length || (kinds.length > 0 && Date.now() + calm < end); i++) {
    await setTimeout(calm);
    const kind = kinds[i % kinds.length];
    if (kind !== undefined) await make(storm, kind);
  }
}

/** Of the instance that nothing kills, with its workers (kB). */
interface Sample {
  readonly workers: number;
  readonly resident: number;
}

async function sample(storm: Storm, samples: Sample[], stop: AbortSignal): Promise<void> {
  const [first] = storm.fleet.instances;
  while (!stop.aborted) {
    await setTimeout(1_000);
    const pid = first?.child?.pid;
    if (pid !== undefined) samples.push({ workers: storm.workers, resident: (await usageOf(pid)).resident });
  }
}

async function judge(
  { fleet, troubles, problems }: Storm,
  ledger: Ledger,
  memory: readonly Sample[],
  seconds: number,
): Promise<Outcome> {
  const list = (what: string, figure: number, all: readonly string[]): Checked => ({
    ...{ what, figure: String(figure), problems: all },
  });
  const workers = memory.reduce((most, sample) => Math.max(most, sample.workers), 1);
  const ended =
    troubles.filter(({ kind }) => STARTS_ANEW.has(kind)).length * fleet.instances.length * workers;
  const done = Object.values(ledger.done).reduce((sum, each) => sum + each, 0);
  const gap = `${(ledger.longestGap / 1_000).toFixed(1)} s`;
  const checks: Checked[] = [
    list("pieces of work done", done, done === 0 ? ["nothing was done"] : []),
    list("wrong answers", ledger.wrong.length, ledger.wrong),
    list("protected values that got out", ledger.leaks.length, ledger.leaks),
    ...checkIncidents(ledger, troubles),
    {
      what: "the longest time in which a client got nothing done",
      pace: true,
      figure: gap,
      problems: ledger.longestGap > LONGEST_GAP ? [gap] : [],
    },
    { ...list("troubles that were not over within 30 s", problems.length, problems), pace: true },
    await checkDatabase(fleet, ledger),
    await checkCounters(fleet, ledger, { lives: fleet.instances.length * workers + ended, ended }),
    ...(await checkAudit(fleet, ledger)),
    ...[...new Set(memory.map((sample) => sample.workers))].map((each) => growth(memory, each)),
  ];
  return { checks, report: reportOf(ledger, troubles, checks, seconds) };
}

/** From the second quarter of the time with so many workers to the last. */
function growth(memory: readonly Sample[], workers: number): Checked {
  const figures = memory.filter((each) => each.workers === workers).map(({ resident }) => resident);
  const quarter = Math.ceil(figures.length / 4);
  const [before, after] = [median(figures.slice(quarter, 2 * quarter)), median(figures.slice(-quarter))];
  const megabytes = (kilobytes: number) => (kilobytes / 1024).toFixed(0);
  const processes = workers === 1 ? 1 : workers + 1;
  return {
    what: `MB resident of the proxy that nobody kills, ${workers === 1 ? "one process" : `${workers} workers`}`,
    figure: `${megabytes(before)}, later ${megabytes(after)}`,
    problems:
      figures.length >= WARM && after - before > SLACK * processes
        ? [`it grew by ${megabytes(after - before)} MB`]
        : [],
  };
}

function reportOf(
  ledger: Ledger,
  troubles: Storm["troubles"],
  checks: readonly Checked[],
  seconds: number,
): string {
  const kinds = [...new Set(troubles.map(({ kind }) => kind))];
  const made = kinds.map((kind) => {
    const own = troubles.filter((each) => each.kind === kind);
    const longest = Math.max(...own.map(({ from, to }) => to - from));
    return [kind, String(own.length), `${(longest / 1_000).toFixed(1)} s`];
  });
  const works = Object.entries(ledger.done).toSorted(([, a], [, b]) => b - a);
  const done = works.reduce((sum, [, times]) => sum + times, 0);
  return [
    `${done} pieces of work (${(done / seconds).toFixed(0)} a second) in ${ledger.opened} sessions; half took ` +
      `${percentile(ledger.times, 0.5).toFixed(1)} ms, 1 % more than ${percentile(ledger.times, 0.99).toFixed(0)} ms`,
    table(
      ["work", "times"],
      works.map(([work, times]) => [work, String(times)]),
    ),
    table(["trouble", "times", "longest until all is well"], made),
    table(
      ["what", "figure", ""],
      checks.map(({ what, figure, problems }) => [what, figure, problems.length === 0 ? "holds" : "FAILS"]),
    ),
    ...checks.flatMap(({ what, problems }) =>
      problems.length === 0 ? [] : [[`${what}:`, ...problems.slice(0, 20)].join("\n  ")],
    ),
  ].join("\n\n");
}
