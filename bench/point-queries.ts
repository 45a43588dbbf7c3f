import { median, ratios, type Series, table, withSpread } from "./figures.ts";
import { type Load, type Measured, runPgbench } from "./pgbench.ts";
import type { Target } from "./targets.ts";
import { ACCOUNTS, FEW } from "./world.ts";

export interface PointTargets {
  readonly direct: Target;
  readonly pgbouncer: Target;
  readonly pgpool: Target;
  readonly relay: Target;
  /** Sluice, by role; of several builds the first is compared with the others. */
  /** The guarded role, whose events follow its rows (`--audit-durability after`). */
  readonly guardedAfter: Target;
  readonly sluices: readonly {
    readonly build: string;
    readonly app: Target;
    readonly guarded: Target;
    readonly watched: Target;
  }[];
}

export interface Extent {
  readonly rounds: number;
  readonly seconds: number;
  /** Seconds for each target in each mode, before anything is measured. */
  readonly warmUp: number;
  readonly clients: readonly number[];
}

/** They are as fast at once as ever. */
const NATIVE: ReadonlySet<string> = new Set(["direct", "PgBouncer", "Pgpool-II"]);
/** What a table shows of a load. */
type Figure = keyof Measured;

interface Cell {
  readonly mode: Load["mode"];
  readonly clients: number;
  readonly what: string;
  readonly target: Target;
  readonly accounts: number;
  readonly comments?: true;
  readonly rounds: Measured[];
}

/** pgbench -S through everything, one target after the other, round by round. */
export async function measurePointQueries(targets: PointTargets, extent: Extent): Promise<readonly Cell[]> {
  const cells = cellsOf(targets, extent);
  // V8 makes fast what has run some ten thousand times: what a proxy costs in its first seconds is not what is asked.
  const cold = cells.filter(({ what, clients }) => !NATIVE.has(what) && clients === extent.clients[0]);
  for (const { target, accounts, mode } of cold) {
    await runPgbench(target, { mode, clients: 8, seconds: extent.warmUp, accounts });
  }
  for (let round = 0; round < extent.rounds; round++) {
    for (const { what, target, mode, clients, accounts, comments, rounds } of cells) {
      const load = { mode, clients, accounts, ...(comments && { comments }) };
      // People who were read a minute ago have to be counted anew, and the others have had the caches meanwhile.
      if (!NATIVE.has(what)) await runPgbench(target, { ...load, seconds: 1 });
      rounds.push(await runPgbench(target, { ...load, seconds: extent.seconds }));
    }
  }
  return cells;
}

function cellsOf(targets: PointTargets, extent: Extent): readonly Cell[] {
  const { direct, pgbouncer, pgpool, relay, guardedAfter, sluices } = targets;
  return (["simple", "prepared"] as const).flatMap((mode) =>
    extent.clients.flatMap((clients) => {
      const cell = (what: string, target: Target, accounts = ACCOUNTS): Cell => ({
        ...{ mode, clients, what, target, accounts },
        rounds: [],
      });
      return [
        ...[cell("direct", direct), cell("PgBouncer", pgbouncer), cell("Pgpool-II", pgpool)],
        cell("bare relay", relay),
        ...sluices.flatMap(({ build, app, guarded, watched }) => [
          cell(`app${build}`, app),
          cell(`app, few${build}`, app, FEW),
          cell(`guarded, few${build}`, guarded, FEW),
          cell(`watched, few${build}`, watched, FEW),
          ...(mode === "simple"
            ? [
                { ...cell(`app, comments${build}`, app, FEW), comments: true as const },
                { ...cell(`watched, comments${build}`, watched, FEW), comments: true as const },
              ]
            : []),
          ...(clients === 8 ? [cell(`guarded${build}`, guarded)] : []),
        ]),
        cell("guarded, few, audit after", guardedAfter, FEW),
      ];
    }),
  );
}

/** The whole of it, for reading and for docs/performance.md. */
export function describePointQueries(cells: readonly Cell[]): string {
  const of = (cell: Cell, figure: Figure): Series => cell.rounds.map((measured) => measured[figure]);
  const rows = cells.map((cell) => {
    const same = (what: string) =>
      cells.find(
        (other) => other.what === what && other.mode === cell.mode && other.clients === cell.clients,
      );
    const versus = (what: string, figure: Figure) => {
      const base = same(what);
      return base === undefined ? "" : withSpread(ratios(of(cell, figure), of(base, figure)), 2);
    };
    const isDirect = cell.what === "direct";
    return [
      `${cell.mode}, ${cell.clients}`,
      cell.what,
      isDirect ? "" : (median(of(cell, "cpu")) * 1000).toFixed(0),
      isDirect ? "" : versus("PgBouncer", "cpu"),
      isDirect ? "" : versus("bare relay", "cpu"),
      median(of(cell, "throughput")).toFixed(0),
      versus("PgBouncer", "throughput"),
      cell.clients === 1 ? median(of(cell, "p50")).toFixed(0) : "",
      cell.clients === 1 ? median(of(cell, "p99")).toFixed(0) : "",
    ];
  });
  return table(
    [
      "load",
      "through",
      "CPU µs a query",
      "× PgBouncer",
      "× relay",
      "queries/s",
      "× PgBouncer",
      "p50 µs",
      "p99 µs",
    ],
    rows,
  );
}

/** A line of the table of targets: what is wanted, the worst of all loads, whether it holds. */
export interface Reached {
  readonly what: string;
  readonly target: string;
  readonly reached: string;
  readonly holds: boolean | undefined;
}

/** Held against the targets: of several loads the worst counts. */
export function judgePointQueries(cells: readonly Cell[]): readonly Reached[] {
  const all = (what: string, base: string, figure: Figure, fewest = 1) =>
    cells
      .filter((cell) => cell.what === what && cell.clients >= fewest)
      .flatMap((cell) => {
        const other = cells.find(
          ({ what: name, mode, clients }) => name === base && mode === cell.mode && clients === cell.clients,
        );
        if (other === undefined) return [];
        const series = (of: Cell) => of.rounds.map((measured) => measured[figure]);
        return [median(ratios(series(cell), series(other)))];
      });
  const most = (what: string, target: number, figures: readonly number[]): Reached => ({
    what,
    target: `≤ ${target}`,
    reached: range(figures),
    holds: figures.every((figure) => figure <= target),
  });
  const least = (what: string, target: number, figures: readonly number[]): Reached => ({
    what,
    target: `≥ ${target}`,
    reached: range(figures),
    holds: figures.every((figure) => figure >= target),
  });
  return [
    most("app: CPU × PgBouncer", 1.25, all("app", "PgBouncer", "cpu")),
    most("app: CPU × bare Node relay", 1.05, all("app", "bare relay", "cpu")),
    most("app: CPU × Pgpool-II", 0.5, all("app", "Pgpool-II", "cpu")),
    least("app: throughput × Pgpool-II", 1.5, all("app", "Pgpool-II", "throughput")),
    least("app: throughput × PgBouncer", 0.85, all("app", "PgBouncer", "throughput")),
    most("guarded: CPU × app", 1.6, all("guarded, few", "app, few", "cpu")),
    most("guarded, audit after: CPU × app", 1.6, all("guarded, few, audit after", "app, few", "cpu")),
    most("watched: CPU × app, 8 clients and more", 1.4, all("watched, few", "app, few", "cpu", 8)),
    most("app: CPU with differing comments × without", 1.03, all("app, comments", "app, few", "cpu", 8)),
    most(
      "watched: CPU with differing comments × without",
      1.03,
      all("watched, comments", "watched, few", "cpu", 8),
    ),
    ...judgeLatency(cells),
  ];
}

function judgeLatency(cells: readonly Cell[]): readonly Reached[] {
  const added = (mode: string, what: string, figure: "p50" | "p99") => {
    const of = (name: string) => {
      const cell = cells.find((each) => each.what === name && each.mode === mode && each.clients === 1);
      return median(cell?.rounds.map((measured) => measured[figure]) ?? []);
    };
    return of(what) - of("direct");
  };
  const modes = ["simple", "prepared"];
  const microseconds = (figure: "p50" | "p99", limit: number): Reached => {
    const figures = modes.map((mode) => added(mode, "app", figure));
    return {
      what: `app, 1 client: ${figure} added to direct`,
      target: `< ${limit} µs`,
      reached: figures.map((value) => `${value.toFixed(0)} µs`).join(" · "),
      holds: figures.every((value) => value < limit),
    };
  };
  const factors = modes.map((mode) => added(mode, "app", "p50") / added(mode, "PgBouncer", "p50"));
  return [
    microseconds("p50", 60),
    microseconds("p99", 200),
    {
      what: "app, 1 client: p50 added × PgBouncer's",
      target: "≤ 1.3",
      reached: factors.map((factor) => factor.toFixed(2)).join(" · "),
      holds: factors.every((factor) => factor <= 1.3),
    },
  ];
}

function range(figures: readonly number[]): string {
  if (figures.length === 0) return "–";
  return `${Math.min(...figures).toFixed(2)} to ${Math.max(...figures).toFixed(2)}`;
}
