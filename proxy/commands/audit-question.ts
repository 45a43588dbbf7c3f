import type { AuditKeys } from "../audit/audit-keys.ts";
import { WrongQuestion } from "../audit/question-words.ts";
import type { Period } from "../audit/readings.ts";
import { readKeys, readLogFolder, readPeriod } from "./audit-arguments.ts";
import { operator, putOnRecord } from "./audit-record.ts";
import { complain, isWrong, misused, type Streams, type Wrong } from "./streams.ts";

/** The flags of all commands that ask the log. */
export const LOG_FLAGS = {
  audit: { type: "string", multiple: true, default: [] as string[] },
  since: { type: "string" },
  until: { type: "string" },
  "key-file": { type: "string", multiple: true, default: [] as string[] },
  by: { type: "string" },
  record: { type: "string" },
  json: { type: "boolean", default: false },
} as const;

/** Of the commands that ask whom a user read, or who read a person. */
export const QUESTION_FLAGS = { table: { type: "string" }, ...LOG_FLAGS } as const;

export const LOG_HELP = `  --audit FOLDER     the audit log (audit/)
  --since, --until   a day or a time: 2026-05-01, 2026-05-01T08:00Z
  --key-file FILE    the fleet's secret (or SLUICE_KEY); several, if it changed: the one in use comes first
  --by NAME          who asks (your own name here): each question is an event of the log
  --record FOLDER    where that event is written, if the log is a copy that cannot be (the log itself)
  --json             for programs
`;

export const QUESTION_HELP = `  --table NAME       where people are named: what the policy's "subject" leads to, as in public.customers.id; needed where
                     the log knows several
${LOG_HELP}`;

/** What all questions have in common. */
export interface LogQuestion {
  readonly folder: string;
  /** Undefined: the only one that the log knows. */
  readonly namespace: string | undefined;
  readonly period: Period;
  readonly keys: readonly AuditKeys[];
  readonly keyFile: string | undefined;
  readonly by: string;
  readonly record: string;
  readonly json: boolean;
}

interface Values {
  readonly table?: string;
  readonly audit: readonly string[];
  readonly since?: string;
  readonly until?: string;
  readonly "key-file": readonly string[];
  readonly by?: string;
  readonly record?: string;
  readonly json: boolean;
}

/** `folders`: those that were named without --audit. */
export async function readLogQuestion(
  values: Values,
  folders: readonly string[] = [],
): Promise<LogQuestion | Wrong> {
  const period = readPeriod(values.since, values.until);
  if (isWrong(period)) return period;
  const keys = readKeys(values["key-file"], process.env);
  if (isWrong(keys)) return keys;
  if (keys.length === 0) return misused("--key-file: missing (or SLUICE_KEY); the log has people as hashes");
  const folder = await readLogFolder([...folders, ...values.audit]);
  if (typeof folder !== "string") return folder;
  return {
    folder,
    period,
    keys,
    namespace: values.table,
    keyFile: values["key-file"][0],
    by: values.by ?? operator(),
    record: values.record ?? folder,
    json: values.json,
  };
}

/** A flag's list: `phone, email`. */
export function listed(value: string | undefined): readonly string[] {
  return value?.split(",").map((name) => name.trim()) ?? [];
}

/** A command that asks the log. `tell` is for what is no part of the answer. */
interface QuestionCommand {
  /** As it is typed behind `sluice`. */
  readonly name: string;
  readonly help: string;
  readonly answer: (args: readonly string[], tell: (line: string) => void) => Promise<string | Wrong>;
}

/** Runs one: 0 when it could say, whatever it said. */
export async function runQuestion(
  { name, help, answer }: QuestionCommand,
  args: readonly string[],
  streams: Streams,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(help);
    return 0;
  }
  try {
    const said = await answer(args, (line) => streams.errors.write(`sluice ${name}: ${line}\n`));
    if (isWrong(said)) return complain(name, said, streams);
    streams.output.write(said);
    return 0;
  } catch (error) {
    return complain(name, wrongOf(error), streams);
  }
}

/** To be called before anything of the answer is shown. */
export async function recordQuestion(
  { keyFile, by, record, period }: LogQuestion,
  question: string,
  fields: { readonly people?: number; readonly about?: string },
): Promise<void> {
  try {
    await putOnRecord(record, keyFile, {
      ...{ kind: "question", time: Date.now(), by, question },
      ...fields,
      ...(period.since > 0 && { since: period.since }),
      ...(Number.isFinite(period.until) && { until: period.until }),
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new WrongQuestion(
      `the question cannot be put on record in "${record}" (${code ?? message}); --record names another folder`,
    );
  }
}

/** How a command ends that has failed: misused, or not to be answered. */
function wrongOf(error: unknown): Wrong {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code?.startsWith("ERR_PARSE_ARGS")) return misused(message);
  if (error instanceof WrongQuestion) return { problem: message, status: 2 };
  return { problem: message, status: 1 };
}
