import pg from "pg";
import { auditKeys } from "../audit/audit-keys.ts";
import { TooSlow } from "../audit/engine.ts";
import { askLeak, CONTROLS, type LeakAnswer, type LeakList } from "../audit/leak.ts";
import { NotInTable } from "../audit/people-table.ts";
import { WrongQuestion } from "../audit/question-words.ts";
import { NoLog, type Period } from "../audit/readings.ts";
import { readSubjects } from "../audit/subject-list.ts";
import { endOf } from "../audit/time-text.ts";
import type { Counted } from "../audit/who-read.ts";
import { withDatabase } from "./audit-database.ts";

/** What the thread is given: it is copied, so it holds no functions. */
export interface LeakTask extends LeakList {
  readonly folder: string;
  readonly auditKey: Uint8Array;
  readonly namespace: string | undefined;
  readonly period: Period;
  readonly counted: Counted;
  /** The database of these people; undefined: the console may not ask it. */
  readonly upstream: string | undefined;
  /** Milliseconds that the log, and each statement of the database, may take. */
  readonly patience: number;
}

/** More than an officer has on a list; the command takes any number. */
const MOST_PEOPLE = 50_000;

/** Answers as `sluice audit who-read` does. Never rejects, and no problem repeats a value of the list. */
export async function answerLeak(task: LeakTask): Promise<LeakAnswer> {
  const { folder, namespace, period, counted, patience, match, like, upstream } = task;
  const called = task.called === undefined ? undefined : { column: task.called, timeOf: endOf };
  const list = readSubjects(task.text, task.column, called);
  if (!list.ok) return { ok: false, problem: `--subjects: ${list.problem}` };
  const { people, header } = list;
  const failed = (problem: string) => ({ ok: false, problem, people: people.length }) as const;
  if (people.length > MOST_PEOPLE)
    return failed(
      `--subjects: more than ${MOST_PEOPLE.toLocaleString("en")} people; "sluice audit who-read" takes any number`,
    );
  if (upstream === undefined && (match !== undefined || like !== undefined))
    return failed(
      `--${match === undefined ? "like" : "match"}: needs --console-upstream, the database of these people`,
    );
  const keys = [auditKeys(Buffer.from(task.auditKey))];
  const database =
    upstream === undefined
      ? undefined
      : <T>(work: Parameters<typeof withDatabase<T>>[1]) => withDatabase(upstream, work, patience);
  const victims = { list: people, match, like, controls: CONTROLS, database };
  const told: string[] = [];
  try {
    const asked = { folder, keys, namespace, period, victims, counted, patience };
    const { notes, ...answer } = await askLeak(asked, (line) => told.push(line));
    return { ok: true, ...answer, notes: [...told, ...notes], header, people: people.length };
  } catch (error) {
    return { ...problemOf(error), people: people.length };
  }
}

function problemOf(error: unknown): Extract<LeakAnswer, { ok: false }> {
  const { code, name, message } = error as NodeJS.ErrnoException;
  if (error instanceof WrongQuestion || error instanceof NotInTable || error instanceof NoLog)
    return { ok: false, problem: message };
  if (error instanceof TooSlow) return { ok: false, problem: TOO_SLOW };
  if (error instanceof pg.DatabaseError) return { ok: false, ...refusedBy(error) };
  const why = code === undefined ? `${name}: ${message}` : `${code} ${name}`;
  return {
    ok: false,
    problem: "the question could not be answered; the proxy's own log has the reason",
    why,
  };
}

export const TOO_SLOW =
  "the log took more than a minute: narrow the time, or ask from the command line on a copy of the log";

/** Errors about data repeat it (class 22), and what a constraint or a function says of it is unknown. */
function refusedBy({ code = "", message }: pg.DatabaseError): {
  readonly problem: string;
  readonly why: string;
} {
  const why = `the database answered with SQLSTATE ${code}`;
  if (code === "57014")
    return { problem: `--console-upstream: a statement of this question took too long; ${BY_COMMAND}`, why };
  return /^(42501|28|3D)/.test(code)
    ? { problem: `--console-upstream: ${message}`, why }
    : { problem: `--console-upstream: the database answered with SQLSTATE ${code}`, why };
}

const BY_COMMAND = "an index on the column helps, or the command line, which waits";
