import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../test/harness/programs.ts";
import { percentile } from "./figures.ts";
import { usageOf } from "./processes.ts";
import type { Target } from "./targets.ts";

export interface Load {
  readonly mode: "simple" | "prepared";
  readonly clients: number;
  readonly seconds: number;
  /** Queries ask for one of so many accounts. */
  readonly accounts: number;
  /** Each text has another comment, as frameworks write them; in simple mode alone. */
  readonly comments?: true;
  /** Each query logs in anew. */
  readonly logins?: true;
  /** Queries a second in all; as many as go if left out. */
  readonly rate?: number;
}

export interface Measured {
  /** Queries a second. */
  readonly throughput: number;
  /** Seconds of the proxy's processes per 1,000 queries. */
  readonly cpu: number;
  /** Microseconds of a query; measured with one client only. */
  readonly p50: number;
  readonly p99: number;
}

/** The statement of pgbench -S, over as many accounts as we like. */
const SELECT_ONLY =
  "\\set aid random(1, :accounts)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n";

/** As sqlcommenter writes it: another request, and another trace, for each query. */
const COMMENTED = `\\set aid random(1, :accounts)
\\set request random(1000000000, 9999999999)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid /*request_id=':request',traceparent='00-4bf92f3577b34da6a3ce92:request-00f067aa0ba902b7-01'*/;
`;

/** Runs pgbench through a target, and reads off what the target's processes used meanwhile. */
export async function runPgbench(target: Target, load: Load): Promise<Measured> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-bench-"));
  try {
    const script = join(folder, "select.sql");
    await writeFile(script, load.comments ? COMMENTED : SELECT_ONLY);
    const before = await usageOf(target.pid);
    const { stdout, stderr, code } = await runProgram(
      "pgbench",
      [
        ...["-n", "-M", load.mode, "-c", String(load.clients), "-j", "1", "-T", String(load.seconds)],
        ...["-D", `accounts=${load.accounts}`, "-f", script],
        ...(load.rate === undefined ? [] : ["-R", String(load.rate)]),
        ...(load.logins ? ["-C"] : []),
        ...(load.clients === 1 ? ["-l", "--log-prefix", join(folder, "latency")] : []),
      ],
      { uri: target.uri },
    );
    const after = await usageOf(target.pid);
    if (code !== 0) throw new Error(`pgbench through ${target.name}: ${stderr}`);
    const queries = Number(/actually processed: (\d+)/.exec(stdout)?.[1]);
    const latencies = load.clients === 1 ? await latenciesIn(folder) : [];
    return {
      throughput: Number(/tps = ([\d.]+)/.exec(stdout)?.[1]),
      cpu: ((after.cpu - before.cpu) / queries) * 1000,
      p50: percentile(latencies, 0.5),
      p99: percentile(latencies, 0.99),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A line is: client, number, microseconds, script, time (Postgres docs, "pgbench", Per-Transaction Logging). */
async function latenciesIn(folder: string): Promise<readonly number[]> {
  const logs = (await readdir(folder)).filter((name) => name.startsWith("latency"));
  const texts = await Promise.all(logs.map((name) => readFile(join(folder, name), "utf8")));
  return texts.flatMap((text) =>
    text
      .trim()
      .split("\n")
      .map((line) => Number(line.split(" ")[2])),
  );
}
