import { spawn } from "node:child_process";
import { once } from "node:events";
import { findProgram } from "../test/harness/debian.ts";
import { median, ratios, type Series, table, withSpread } from "./figures.ts";
import type { Reached } from "./point-queries.ts";
import { usageOf } from "./processes.ts";
import type { Target } from "./targets.ts";

/** One way to read all rows. */
interface Read {
  readonly what: string;
  readonly form: "COPY" | "SELECT";
  readonly target: Target;
  readonly sql: string;
  readonly seconds: number[];
  readonly cpu: number[];
  bytes: number;
}

export interface BulkTargets {
  readonly direct: Target;
  readonly pgbouncer: Target;
  readonly pgpool: Target;
  readonly relay: Target;
  readonly app: Target;
  readonly masked: Target;
  readonly guarded: Target;
  readonly watched: Target;
  /** What Sluice makes of `RECORDS` for the masked role, to be run by hand. */
  readonly maskedSql: string;
}

const COLUMNS = "SELECT id, name, email, phone, country, created_at";
/** Each row is a person's, who stands in the audit log. */
const PEOPLE = `${COLUMNS} FROM people`;
/** It takes far longer than all others, and no target hangs on it: once is enough. */
const METERED = "guarded: logged and metered";
/** The same rows, of nobody. */
export const RECORDS = `${COLUMNS} FROM records`;

/** All rows of a table out, by COPY and by SELECT with psql's FETCH_COUNT. */
export async function measureBulk(targets: BulkTargets, rounds: number): Promise<readonly Read[]> {
  const { maskedSql, ...ways } = targets;
  const reads = (["COPY", "SELECT"] as const).flatMap((form) => {
    const read = (what: string, target: Target, query = RECORDS): Read => {
      const sql = form === "COPY" ? `COPY (${query}) TO STDOUT` : query;
      return { what, form, target, sql, seconds: [], cpu: [], bytes: 0 };
    };
    return [
      ...[read("direct", ways.direct), read("PgBouncer", ways.pgbouncer), read("Pgpool-II", ways.pgpool)],
      ...[read("bare relay", ways.relay), read("app", ways.app)],
      ...[read("direct, masks by hand", ways.direct, maskedSql), read("masked", ways.masked)],
      read("masked, each person logged", ways.masked, PEOPLE),
      ...[read("app, people", ways.app, PEOPLE), read("watched, people", ways.watched, PEOPLE)],
      read(METERED, ways.guarded, PEOPLE),
    ];
  });
  // Code that is not fast yet, and tables that are not in memory, are not what is asked.
  for (const read of reads)
    await psqlBytes({ ...read, sql: read.sql.replace(/ FROM \w+/, "$& LIMIT 200000") });
  for (let round = 0; round < rounds; round++) {
    for (const read of reads) if (round === 0 || read.what !== METERED) await readOnce(read);
  }
  return reads;
}

async function readOnce(read: Read): Promise<void> {
  const before = await usageOf(read.target.pid);
  const start = performance.now();
  read.bytes = await psqlBytes(read);
  read.seconds.push((performance.now() - start) / 1000);
  read.cpu.push((await usageOf(read.target.pid)).cpu - before.cpu);
}

/** psql's output is counted, not kept. */
async function psqlBytes({ target, sql, form }: Pick<Read, "target" | "sql" | "form">): Promise<number> {
  const { path, environment } = await findProgram("psql");
  const args = form === "SELECT" ? ["-v", "FETCH_COUNT=5000"] : [];
  const child = spawn(path, ["--no-psqlrc", "-qAt", ...args, "-c", sql, target.uri], {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let bytes = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`psql through ${target.name} failed`);
  return bytes;
}

export function describeBulk(reads: readonly Read[]): string {
  const rows = reads.map((read) => {
    const base = reads.find(({ what, form }) => what === "PgBouncer" && form === read.form);
    return [
      read.form,
      read.what,
      (read.bytes / 1e6 / median(read.seconds)).toFixed(0),
      base === undefined ? "" : withSpread(ratios(base.seconds, read.seconds), 2),
      read.what.startsWith("direct") ? "" : median(read.cpu).toFixed(2),
    ];
  });
  return table(["form", "through", "MB/s", "speed × PgBouncer", "CPU s"], rows);
}

export function judgeBulk(reads: readonly Read[]): readonly Reached[] {
  const seconds = (what: string, form: string): Series =>
    reads.find((read) => read.what === what && read.form === form)?.seconds ?? [];
  const speeds = (what: string, base: string) =>
    ["COPY", "SELECT"].map((form) => median(ratios(seconds(base, form), seconds(what, form))));
  const least = (what: string, target: number, figures: readonly number[]): Reached => ({
    what,
    target: `≥ ${target}`,
    reached: figures.map((figure) => figure.toFixed(2)).join(" · "),
    holds: figures.every((figure) => figure >= target),
  });
  const byHand = (what: string) => speeds(what, "direct, masks by hand");
  return [
    least("bulk out, app: speed × PgBouncer (COPY · SELECT)", 0.9, speeds("app", "PgBouncer")),
    least("bulk out, masked: speed × direct with the same SQL", 0.75, byHand("masked")),
    least("the same with each person in the audit log", 0.75, byHand("masked, each person logged")),
    least("bulk out, watched: speed × app (COPY · SELECT)", 0.8, speeds("watched, people", "app, people")),
  ];
}
