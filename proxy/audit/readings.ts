import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DuckDBConnection, DuckDBValue } from "@duckdb/node-api";
import { compressedForm, listSegments, type SegmentFile, segmentName } from "./segments.ts";

/** A stretch of time, Unix milliseconds; `until` is not in it. */
export interface Period {
  readonly since: number;
  readonly until: number;
}

/** The log's events that read people, as a table of DuckDB. */
export interface Readings {
  /** A row's columns come as numbers, strings and lists of strings. */
  rows<Row>(sql: string, values?: readonly DuckDBValue[]): Promise<readonly Row[]>;
  /** Segments that cannot be read, a damaged compressed one say. */
  readonly unreadable: readonly string[];
}

/** What to read of the log. */
export interface Question {
  readonly folder: string;
  readonly period: Period;
  /** Numbers of the people asked about, by their hashes. */
  readonly asked: ReadonlyMap<string, number>;
  /** The text of statements is read only where few events are. */
  readonly events: "all" | "of asked people";
}

const DAY = 86_400_000;

/** What is read of a line (docs/audit.md); all else is skipped. */
const FIELDS = `{
  time: 'DOUBLE',
  actor: 'STRUCT("user" STRUCT("name" VARCHAR, groups STRUCT("name" VARCHAR)[]), session STRUCT(uid VARCHAR), app_name VARCHAR)',
  src_endpoint: 'STRUCT(ip VARCHAR, "name" VARCHAR)',
  database: 'STRUCT("name" VARCHAR)',
  query_info: 'STRUCT(query_string VARCHAR)',
  unmapped: 'STRUCT(kind VARCHAR, decision VARCHAR, "rows" DOUBLE, people DOUBLE, subjects VARCHAR[])',
  metadata: 'STRUCT(log_name VARCHAR, sequence DOUBLE)'
}`;

/** `unmapped.kind` of a segment's last line. */
const FOOTER = "segment closed";

const TABLE = `CREATE TEMP TABLE readings (
  time DOUBLE, "user" VARCHAR, role VARCHAR, session VARCHAR, address VARCHAR, application VARCHAR, database VARCHAR,
  statement VARCHAR, kind VARCHAR, decision VARCHAR, "rows" DOUBLE, people DOUBLE, subjects VARCHAR[], writer VARCHAR,
  sequence DOUBLE, file VARCHAR
)`;

/**
 * Reads the period's events out of all segments into the table `readings`, the hashes of asked people into
 * `asked (subject, number)`, and has `work` ask. A line that was torn in a crash is passed over.
 */
export async function withReadings<T>(
  { folder, period, asked, events }: Question,
  work: (readings: Readings) => Promise<T>,
): Promise<T> {
  const connection = await openEngine();
  try {
    await fillAsked(connection, asked);
    const files = (await listSegments(folder)).filter((file) => mayHold(file, period));
    const unreadable = await fillReadings(connection, files, period, events);
    return await work({
      unreadable,
      rows: async <Row>(sql: string, values: readonly DuckDBValue[] = []) =>
        (await connection.runAndReadAll(sql, [...values])).getRowObjectsJS() as unknown as readonly Row[],
    });
  } finally {
    connection.closeSync();
  }
}

async function openEngine(): Promise<DuckDBConnection> {
  const engine = await import("@duckdb/node-api").catch(() => undefined);
  if (engine === undefined) {
    throw new Error(
      "asking the log needs the package @duckdb/node-api, which was left out of this installation",
    );
  }
  const settings = {
    // What does not fit into memory.
    temp_directory: join(tmpdir(), `sluice-duckdb-${process.pid}`),
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
  };
  return (await engine.DuckDBInstance.create(":memory:", settings)).connect();
}

async function fillAsked(connection: DuckDBConnection, asked: ReadonlyMap<string, number>): Promise<void> {
  await connection.run("CREATE TEMP TABLE asked (subject VARCHAR, number INTEGER)");
  const appender = await connection.createAppender("asked");
  for (const [subject, number] of asked) {
    appender.appendVarchar(subject);
    appender.appendInteger(number);
    appender.endRow();
  }
  appender.closeSync();
}

/** Gives the names of those that cannot be read. */
async function fillReadings(
  connection: DuckDBConnection,
  files: readonly SegmentFile[],
  period: Period,
  events: Question["events"],
): Promise<readonly string[]> {
  await connection.run(TABLE);
  if (files.length === 0) return [];
  const fill = async (some: readonly SegmentFile[]): Promise<readonly SegmentFile[]> => {
    // A statement that fails has inserted nothing.
    await connection.run(`INSERT INTO readings ${scanOf(some, period, events)}`);
    return some;
  };
  let read: readonly SegmentFile[];
  try {
    read = await fill(files);
  } catch {
    const some: SegmentFile[] = [];
    for (const file of files) some.push(...(await fill([file]).catch(() => readLater(file, fill))));
    read = some;
  }
  const whole = await takeFooters(connection);
  const names = new Set(read.filter((file) => !file.compressed || whole.has(file.path)).map(keyOf));
  return files.filter((file) => !names.has(keyOf(file))).map(({ name }) => name);
}

/** The proxy that writes the log may have compressed a segment since it was listed. */
async function readLater(
  file: SegmentFile,
  fill: (some: readonly SegmentFile[]) => Promise<readonly SegmentFile[]>,
): Promise<readonly SegmentFile[]> {
  return file.compressed ? [] : fill([compressedForm(file)]).catch(() => []);
}

function keyOf({ day, writer, number }: SegmentFile): string {
  return segmentName(day, writer, number);
}

/** A compressed segment ends with its footer. Of one that was cut the engine gives what is left, and is silent. */
async function takeFooters(connection: DuckDBConnection): Promise<ReadonlySet<unknown>> {
  const reader = await connection.runAndReadAll(`SELECT file FROM readings WHERE kind = '${FOOTER}'`);
  await connection.run(`DELETE FROM readings WHERE kind = '${FOOTER}'`);
  return new Set(reader.getRows().map(([file]) => file));
}

function scanOf(files: readonly SegmentFile[], { since, until }: Period, events: Question["events"]): string {
  const names = files.map(({ path }) => `'${path.replaceAll("'", "''")}'`).join(", ");
  const lines = `read_json([${names}], format = 'newline_delimited', columns = ${FIELDS}, ignore_errors = true, filename = true)`;
  const asked =
    events === "of asked people"
      ? "AND list_has_any(unmapped.subjects, (SELECT list(subject) FROM asked))"
      : "";
  return `SELECT time, actor."user"."name" AS "user", actor."user".groups[1]."name" AS role,
      actor.session.uid AS session, coalesce(src_endpoint.ip, src_endpoint."name", '') AS address,
      actor.app_name AS application, database."name" AS database, ${events === "of asked people" ? "query_info.query_string" : "''"} AS statement,
      unmapped.kind AS kind, unmapped.decision AS decision, unmapped."rows" AS "rows", unmapped.people AS people,
      unmapped.subjects AS subjects, metadata.log_name AS writer, metadata.sequence AS sequence, filename AS file
    FROM ${lines} WHERE unmapped.kind = '${FOOTER}' OR unmapped.people > 0 AND time >= ${since} AND time < ${Math.min(until, Number.MAX_SAFE_INTEGER)} ${asked}`;
}

/** A segment ends with its day, but for the statement that was running: a day is added on both sides. */
function mayHold(file: SegmentFile, { since, until }: Period): boolean {
  const day = Date.UTC(
    Number(file.day.slice(0, 4)),
    Number(file.day.slice(4, 6)) - 1,
    Number(file.day.slice(6)),
  );
  return day + 2 * DAY > since && day - DAY < until;
}
