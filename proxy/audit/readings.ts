import type { DuckDBConnection, DuckDBValue } from "@duckdb/node-api";
import { openEngine, within } from "./engine.ts";
import { FOOTER, type Lines, type Period, scanOf, TABLE } from "./log-lines.ts";
import { compressedForm, listSegments, mayHold, type SegmentFile, segmentName } from "./segments.ts";

export type { Period } from "./log-lines.ts";

/** Somebody who is asked about, under one of the hashes by which the log may name them. */
export interface Asked {
  readonly subject: string;
  /** The same for all hashes of one person. */
  readonly number: number;
  /** Only readings before this count (Unix time in milliseconds): what leaked was used then. */
  readonly before?: number;
}

/** The log's events that read people, as tables of DuckDB (log-lines.ts). */
export interface Readings {
  /** A row's columns come as numbers, strings and lists of strings. */
  rows<Row>(sql: string, values?: readonly DuckDBValue[]): Promise<readonly Row[]>;
  /** Puts these people in the place of those in `asked`. */
  ask(people: Iterable<Asked>): Promise<void>;
  /** Segments that cannot be read, a damaged compressed one say. */
  readonly unreadable: readonly string[];
}

/** What to read of the log. */
export interface Question {
  readonly folder: string;
  readonly period: Period;
  /**
   * "all": of everybody who read people. "decisions": all statements, with their text. Otherwise the events of these people
   * alone, with the text of their statements.
   */
  readonly events: "all" | "decisions" | readonly Asked[];
  /** A proxy asks beside its clients, and takes so many milliseconds at most; left out: a command asks, however long it takes. */
  readonly patience?: number;
}

/** A folder without a single segment: it is another one, or a folder of folders. */
export class NoLog extends Error {}

/**
 * Reads the period's events out of all segments into the table `lines`, and has `work` ask. A line that was torn in a
 * crash is passed over.
 */
export async function withReadings<T>(
  { folder, period, events, patience }: Question,
  work: (readings: Readings) => Promise<T>,
): Promise<T> {
  const segments = await listSegments(folder);
  if (segments.length === 0) throw new NoLog(`"${folder}" holds no audit log`);
  const connection = await openEngine(patience === undefined ? "command" : "console");
  const answer = async () => {
    await connection.run(TABLE);
    if (typeof events !== "string") await fillAsked(connection, events);
    const files = segments.filter((file) => mayHold(file, period));
    const lines: Lines = { of: linesOf(events), period };
    const unreadable = await fillLines(connection, files, lines);
    if (!(await knowsPolicies(connection)))
      await fillLines(
        connection,
        segments.filter((file) => !files.includes(file)),
        { of: "policies" },
      );
    return await work({
      unreadable,
      ask: (people) => fillAsked(connection, people),
      rows: async <Row>(sql: string, values: readonly DuckDBValue[] = []) =>
        (await connection.runAndReadAll(sql, [...values])).getRowObjectsJS() as unknown as readonly Row[],
    });
  };
  try {
    return patience === undefined ? await answer() : await within(connection, patience, answer);
  } finally {
    connection.closeSync();
  }
}

function linesOf(events: Question["events"]): "all people" | "decisions" | "asked people" {
  if (events === "all") return "all people";
  return events === "decisions" ? events : "asked people";
}

async function knowsPolicies(connection: DuckDBConnection): Promise<boolean> {
  const reader = await connection.runAndReadAll(
    "SELECT 1 FROM lines WHERE known_classes IS NOT NULL LIMIT 1",
  );
  return reader.currentRowCount > 0;
}

async function fillAsked(connection: DuckDBConnection, asked: Iterable<Asked>): Promise<void> {
  await connection.run("DELETE FROM asked");
  const appender = await connection.createAppender("asked");
  for (const { subject, number, before = Number.MAX_SAFE_INTEGER } of asked) {
    appender.appendVarchar(subject);
    appender.appendInteger(number);
    appender.appendDouble(before);
    appender.endRow();
  }
  appender.closeSync();
}

/** Gives the names of those that cannot be read. */
async function fillLines(
  connection: DuckDBConnection,
  files: readonly SegmentFile[],
  lines: Lines,
): Promise<readonly string[]> {
  if (files.length === 0) return [];
  const fill = async (some: readonly SegmentFile[]): Promise<readonly SegmentFile[]> => {
    // A statement that fails has inserted nothing.
    await connection.run(`INSERT INTO lines ${scanOf(some, lines)}`);
    return some;
  };
  let read: readonly SegmentFile[];
  try {
    read = await fill(files);
  } catch (error) {
    const some: SegmentFile[] = [];
    for (const file of files) some.push(...(await fill([file]).catch(() => readLater(file, fill))));
    // Of a log that cannot be read at all nobody is to be told that it names nobody.
    if (some.length === 0) throw error;
    read = some;
  }
  if (lines.of === "policies") return [];
  const whole = await footers(connection);
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
async function footers(connection: DuckDBConnection): Promise<ReadonlySet<unknown>> {
  const reader = await connection.runAndReadAll(`SELECT file FROM lines WHERE kind = '${FOOTER}'`);
  return new Set(reader.getRows().map(([file]) => file));
}
