import { parseArgs } from "node:util";
import { withDatabase } from "../app/audit-database.ts";
import { coverageOf } from "../audit/coverage.ts";
import { forgottenHashes } from "../audit/forgotten.ts";
import { askLeak, CONTROLS } from "../audit/leak.ts";
import { readingsOf } from "../audit/person-events.ts";
import { checkUser, checkWords } from "../audit/question-words.ts";
import { type Readings, withReadings } from "../audit/readings.ts";
import { endOf } from "../audit/time-text.ts";
import { type VictimsQuestion, victimsOf } from "../audit/victims.ts";
import type { Counted } from "../audit/who-read.ts";
import { eventsText } from "./audit-events-text.ts";
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
import { answerText } from "./audit-who-read-text.ts";
import { isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice audit who-read --subjects FILE [FOLDER] [FLAGS]

Given people whose data leaked, finds who read them, and whether chance and the readers' own work explain it. A user is
named only after a comparison with people like the leaked ones (--like).

  --subjects FILE    CSV: ids, or with --match other values that identify people, in its first column
  --column NAME      the column that has them
  --called NAME      a column with the day on which leaked data was used (a call from a stranger): only readings before
                     the end of that day count
  --match COLUMN     the list has values of this column of the table: email addresses, telephone numbers
  --like COLUMNS     compare with people who are the same in these columns of the table (region,plan), drawn at random;
                     name what decides which agents serve a customer and how often they call; "none" for all people
  --controls NUMBER  how many of them (${CONTROLS})
  --upstream URI     the database, as a user who may read the table (or SLUICE_UPSTREAM); needed by --match and --like
  --needs CLASSES    only readings that showed one of these classes in the clear, or looked people up by it (phone,email);
                     without it, all that showed more than masks
  --unexplained      only readings of people without a connection to the reader (the policy's "purpose")
  --user NAME        list each event in which this user read people of the list
  --top NUMBER       how many users to show (10)
${QUESTION_HELP}`;

const FLAGS = {
  subjects: { type: "string" },
  column: { type: "string" },
  called: { type: "string" },
  match: { type: "string" },
  like: { type: "string" },
  controls: { type: "string", default: String(CONTROLS) },
  upstream: { type: "string" },
  needs: { type: "string" },
  unexplained: { type: "boolean", default: false },
  user: { type: "string" },
  top: { type: "string", default: "10" },
  ...QUESTION_FLAGS,
} as const;

interface WhoReadArguments {
  readonly log: LogQuestion;
  readonly victims: VictimsQuestion;
  readonly counted: Counted;
  readonly header: string | undefined;
  readonly user: string | undefined;
  readonly top: number;
}

/** `sluice audit who-read`: 0 when it could say, whatever it said. */
export function auditWhoRead(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  return runQuestion({ name: "audit who-read", help: HELP, answer }, args, streams);
}

async function answer(args: readonly string[], tell: (line: string) => void): Promise<string | Wrong> {
  const question = await readQuestion(args);
  if (isWrong(question)) return question;
  if (question.header !== undefined) tell(`the first line names the column "${question.header}"`);
  return question.user === undefined ? readers(question, tell) : events(question, question.user, tell);
}

async function readers(question: WhoReadArguments, tell: (line: string) => void): Promise<string> {
  const { log, counted, top, victims: asked } = question;
  const { found, namespace, notes } = await askLeak({ ...log, victims: asked, counted }, tell);
  await recordQuestion(log, "who-read", { people: asked.list.length });
  if (log.json) return `${JSON.stringify({ ...found, namespace, notes }, null, 2)}\n`;
  return answerText(found, { namespace, notes, top, like: asked.like, counted });
}

async function events(
  question: WhoReadArguments,
  user: string,
  tell: (line: string) => void,
): Promise<string> {
  const { log, victims: asked, counted } = question;
  const check = async (readings: Readings) => {
    await checkUser(readings, user);
    const { words, namespace } = await checkWords(readings, log, counted.needs);
    return { namespace, notCovered: await coverageOf(readings, log.keys, words.tables.get(namespace) ?? []) };
  };
  const { namespace, notCovered } = await withReadings({ ...log, events: "all" }, check);
  const forgotten = await forgottenHashes(log.folder, log.keys, tell);
  const { leaked, notes } = await victimsOf(asked, namespace, log.keys, forgotten);
  for (const note of notes) tell(note);
  const people = new Set(leaked.flatMap(({ hashes }) => hashes));
  const found = await readingsOf(log.folder, log.period, people, user);
  const said = { namespace, events: found, notCovered };
  await recordQuestion(log, "who-read", { people: asked.list.length, about: user });
  return log.json ? `${JSON.stringify(said, null, 2)}\n` : eventsText(said);
}

async function readQuestion(args: readonly string[]): Promise<WhoReadArguments | Wrong> {
  const { values, positionals } = parseArgs({ args: [...args], options: FLAGS, allowPositionals: true });
  if (values.subjects === undefined)
    return misused("--subjects: missing; name the file of people whose data leaked");
  const top = Number(values.top);
  if (!Number.isSafeInteger(top) || top < 1) return misused("--top: not a whole number above 0");
  const controls = Number(values.controls);
  if (!Number.isSafeInteger(controls) || controls < 100 || controls > 2_000_000)
    return misused("--controls: not a whole number from 100 to 2000000");
  const upstream = values.upstream ?? process.env.SLUICE_UPSTREAM;
  for (const flag of ["match", "like"] as const)
    if (values[flag] !== undefined && upstream === undefined)
      return misused(`--${flag}: needs --upstream, the database of these people`);
  const log = await readLogQuestion(values, positionals);
  if (isWrong(log)) return log;
  const called = values.called === undefined ? undefined : { column: values.called, timeOf: endOf };
  const list = await listIn("subjects", values.subjects, values.column, called);
  if (isWrong(list)) return list;
  const asks = values.match !== undefined || values.like !== undefined;
  const address = asks ? upstream : values.upstream;
  return {
    log,
    victims: {
      ...{ list: list.people, match: values.match, controls },
      like: values.like === undefined ? undefined : values.like === "none" ? [] : listed(values.like),
      database: address === undefined ? undefined : (work) => withDatabase(address, work),
    },
    counted: {
      needs: listed(values.needs),
      unexplainedOnly: values.unexplained,
    },
    ...{ header: list.header, user: values.user, top },
  };
}
