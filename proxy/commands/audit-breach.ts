import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { withDatabase } from "../app/audit-database.ts";
import {
  affectedBy,
  type BreachFigures,
  breachFigures,
  changesSince,
  type UserReadings,
} from "../audit/breach.ts";
import { peopleTable, valuesOf } from "../audit/people-table.ts";
import { WrongQuestion } from "../audit/question-words.ts";
import { endOf } from "../audit/time-text.ts";
import { affectedCsv, sheet } from "./audit-breach-text.ts";
import {
  type LogQuestion,
  listed,
  QUESTION_FLAGS,
  QUESTION_HELP,
  readLogQuestion,
  recordQuestion,
  runQuestion,
} from "./audit-question.ts";
import { peopleReadBy } from "./audit-read-by.ts";
import { isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice audit breach --user NAME --out FOLDER [FLAGS]

Writes the figures for a breach notification (GDPR Art. 33) from the log: breach.md to read, breach.json for programs,
and people.csv, the list of people to notify (Art. 34). Run again, it shows what has changed.

  --user NAME        the user whose readings are the breach; several for colluders
  --out FOLDER       the folder for the files; earlier files are kept under the time when they were written
  --upstream URI     the database, as a user who may read the ids (or SLUICE_UPSTREAM)
  --group COLUMN     a column of the table to count people by: a country, a tenant
  --needs CLASSES    only readings that showed one of these classes in the clear, or looked people up by it
  --unexplained      only people without a connection to the reader at least once (the policy's "purpose")
  --aware TIME       when you became aware of it: the notification is due 72 hours later
${QUESTION_HELP}`;

const FLAGS = {
  user: { type: "string", multiple: true, default: [] as string[] },
  out: { type: "string" },
  upstream: { type: "string" },
  group: { type: "string" },
  needs: { type: "string" },
  unexplained: { type: "boolean", default: false },
  aware: { type: "string" },
  ...QUESTION_FLAGS,
} as const;

interface BreachArguments {
  readonly log: LogQuestion;
  readonly users: readonly string[];
  readonly out: string;
  readonly upstream: string;
  readonly group: string | undefined;
  readonly needs: readonly string[];
  readonly unexplainedOnly: boolean;
  readonly aware: number | undefined;
}

/** `sluice audit breach`: 0 when the files are written. */
export function auditBreach(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  return runQuestion({ name: "audit breach", help: HELP, answer }, args, streams);
}

async function answer(args: readonly string[], tell: (line: string) => void): Promise<string | Wrong> {
  const question = await readQuestion(args);
  return isWrong(question) ? question : makeCase(question, tell);
}

async function makeCase(question: BreachArguments, tell: (line: string) => void): Promise<string> {
  const { log, users, out, upstream, group, needs, unexplainedOnly, aware } = question;
  const readings: UserReadings[] = [];
  let namespace = "";
  let forgotten = 0;
  for (const user of users) {
    const answer = await peopleReadBy(
      log,
      { user, needs, unexplainedOnly, upstream, candidates: undefined },
      tell,
    );
    readings.push(answer);
    namespace = answer.namespace;
    forgotten = Math.max(forgotten, answer.forgotten);
  }
  const ids = [...new Set(readings.flatMap(({ people }) => people.flatMap(({ id }) => id ?? [])))];
  const affected = affectedBy(readings, await groupsOf(upstream, namespace, group, ids));
  const figures = breachFigures(readings, affected, namespace, Date.now());
  for (const user of users) await recordQuestion(log, "breach", { about: user });
  await mkdir(out, { recursive: true, mode: 0o700 });
  const before = await previous(out);
  const changes = before === undefined ? undefined : changesSince(before, figures);
  if (before !== undefined) await keep(out, before.made);
  const write = (name: string, text: string) => writeFile(join(out, name), text, { mode: 0o600 });
  await write("people.csv", affectedCsv(affected));
  await write("breach.json", `${JSON.stringify(figures, null, 2)}\n`);
  const since = before === undefined || changes === undefined ? undefined : { made: before.made, changes };
  const coverages = readings.map(({ user, found }) => ({ user, coverage: found.notCovered }));
  const text = sheet(figures, { since, aware, group, forgotten, coverages });
  await write("breach.md", text);
  return text;
}

async function groupsOf(
  upstream: string,
  namespace: string,
  group: string | undefined,
  ids: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (group === undefined) return new Map();
  const values = await withDatabase(upstream, async (database) =>
    valuesOf(database, await peopleTable(database, namespace), group, ids),
  );
  return values;
}

const FILES = ["breach.md", "breach.json", "people.csv"];

/** The figures of the run before; undefined where there was none. */
async function previous(out: string): Promise<BreachFigures | undefined> {
  try {
    return JSON.parse(await readFile(join(out, "breach.json"), "utf8")) as BreachFigures;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new WrongQuestion(`--out: breach.json in "${out}" cannot be read; name a new folder`);
  }
}

async function keep(out: string, made: number): Promise<void> {
  const stamp = new Date(made).toISOString().replaceAll(/[-:]/g, "").replace(/\.\d+/, "");
  for (const name of FILES) {
    const [base, end] = name.split(".");
    await rename(join(out, name), join(out, `${base}-${stamp}.${end}`));
  }
}

async function readQuestion(args: readonly string[]): Promise<BreachArguments | Wrong> {
  const { values } = parseArgs({ args: [...args], options: FLAGS });
  const upstream = values.upstream ?? process.env.SLUICE_UPSTREAM;
  if (values.user.length === 0)
    return misused("--user: missing; name the user whose readings are the breach");
  if (new Set(values.user).size < values.user.length) return misused("--user: one is named twice");
  if (values.out === undefined) return misused("--out: missing; where do the files go?");
  if (upstream === undefined)
    return misused("--upstream: missing; without the database no one can be notified");
  const aware = values.aware === undefined ? undefined : endOf(values.aware);
  if (values.aware !== undefined && aware === undefined)
    return misused(`--aware: "${values.aware}" is no time; write 2026-05-01T08:00Z`);
  const log = await readLogQuestion(values);
  if (isWrong(log)) return log;
  return {
    ...{ log, users: values.user, out: values.out, upstream, group: values.group, aware },
    needs: listed(values.needs),
    unexplainedOnly: values.unexplained,
  };
}
