import { parseArgs } from "node:util";
import { withDatabase } from "../app/audit-database.ts";
import { forgottenHashes } from "../audit/forgotten.ts";
import { identify } from "../audit/identify.ts";
import { allIds, peopleTable } from "../audit/people-table.ts";
import { checkWords } from "../audit/question-words.ts";
import { readBy } from "../audit/read-by.ts";
import { kindOfValues } from "../audit/subject-list.ts";
import { listIn } from "./audit-list-file.ts";
import {
  type LogQuestion,
  listed,
  QUESTION_FLAGS,
  QUESTION_HELP,
  readLogQuestion,
  recordQuestion,
  runQuestion,
} from "./audit-question.ts";
import { type ReadByAnswer, readByCsv, readByJson, readByText } from "./audit-read-by-text.ts";
import { isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice audit read-by USER [FLAGS]

Lists the people a user read: how many, when, which classes in the clear, with or without a reason. With the database,
or a list, it names them.

  --upstream URI     the database, as a user who may read the ids (or SLUICE_UPSTREAM): all ids of the table are looked for
  --candidates FILE  CSV: only these ids are looked for
  --column NAME      the column that has them
  --needs CLASSES    only readings that showed one of these classes in the clear, or looked people up by it
  --unexplained      only people without a connection to the reader at least once (the policy's "purpose")
  --csv              one line for each person: id, first, last, statements, classes, reason
  --top NUMBER       how many people to show without --csv and --json (20)
${QUESTION_HELP}`;

const FLAGS = {
  upstream: { type: "string" },
  candidates: { type: "string" },
  column: { type: "string" },
  needs: { type: "string" },
  unexplained: { type: "boolean", default: false },
  csv: { type: "boolean", default: false },
  top: { type: "string", default: "20" },
  ...QUESTION_FLAGS,
} as const;

/** How a user's readings are asked for. */
export interface ReadByAsked {
  readonly user: string;
  readonly needs: readonly string[];
  readonly unexplainedOnly: boolean;
  readonly upstream: string | undefined;
  readonly candidates: readonly string[] | undefined;
}

interface ReadByArguments {
  readonly log: LogQuestion;
  readonly asked: ReadByAsked;
  readonly csv: boolean;
  readonly top: number;
}

/** `sluice audit read-by`: 0 when it could say, whatever it said. */
export function auditReadBy(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  return runQuestion({ name: "audit read-by", help: HELP, answer }, args, streams);
}

async function answer(args: readonly string[], tell: (line: string) => void): Promise<string | Wrong> {
  const question = await readQuestion(args);
  if (isWrong(question)) return question;
  const { log, asked, csv, top } = question;
  const found = await peopleReadBy(log, asked, tell);
  await recordQuestion(log, "read-by", { about: asked.user });
  return csv ? readByCsv(found) : log.json ? readByJson(found) : readByText(found, top);
}

/** Asks the log, and looks for the people in the database or the list. */
export async function peopleReadBy(
  log: LogQuestion,
  asked: ReadByAsked,
  tell: (line: string) => void,
): Promise<ReadByAnswer> {
  let namespace = "";
  const found = await readBy({ ...log, ...asked }, async (readings) => {
    const { words, ...rest } = await checkWords(readings, log, asked.needs);
    namespace = rest.namespace;
    return { namespace, tables: words.tables.get(namespace) ?? [] };
  });
  const forgotten = await forgottenHashes(log.folder, log.keys, tell);
  const remembered = found.people.filter(({ subject }) => !forgotten.has(subject));
  const { upstream, candidates } = asked;
  const among = (ids: Parameters<typeof identify>[1]) => identify(remembered, ids, namespace, log.keys);
  const people =
    candidates !== undefined || upstream === undefined
      ? await among([candidates ?? []])
      : await withDatabase(upstream, async (database) =>
          among(allIds(database, await peopleTable(database, namespace))),
        );
  return {
    ...{ user: asked.user, namespace, found, people },
    looked: candidates !== undefined || upstream !== undefined,
    forgotten: found.people.length - remembered.length,
  };
}

async function readQuestion(args: readonly string[]): Promise<ReadByArguments | Wrong> {
  const { values, positionals } = parseArgs({ args: [...args], options: FLAGS, allowPositionals: true });
  const [user, ...rest] = positionals;
  if (user === undefined || rest.length > 0) return misused("name one user");
  if (values.csv && values.json) return misused("--csv and --json: one of them");
  const top = Number(values.top);
  if (!Number.isSafeInteger(top) || top < 0) return misused("--top: not a whole number");
  const log = await readLogQuestion(values);
  if (isWrong(log)) return log;
  const candidates =
    values.candidates === undefined ? undefined : await listOf(values.candidates, values.column);
  if (isWrong(candidates)) return candidates;
  return {
    log,
    asked: {
      user,
      needs: listed(values.needs),
      unexplainedOnly: values.unexplained,
      upstream: values.upstream ?? process.env.SLUICE_UPSTREAM,
      candidates,
    },
    ...{ csv: values.csv, top },
  };
}

async function listOf(file: string, column: string | undefined): Promise<readonly string[] | Wrong> {
  const list = await listIn("candidates", file, column);
  if (isWrong(list)) return list;
  const ids = list.people.map(({ value }) => value);
  const kind = kindOfValues(ids);
  return kind === undefined ? ids : misused(`--candidates: these are ${kind}, not ids`);
}
