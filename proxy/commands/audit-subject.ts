import { parseArgs } from "node:util";
import { coverageOf } from "../audit/coverage.ts";
import { forgottenHashes } from "../audit/forgotten.ts";
import { readingsOf } from "../audit/person-events.ts";
import { checkUser, checkWords } from "../audit/question-words.ts";
import { withReadings } from "../audit/readings.ts";
import { hashesOfOne, kindOfValues } from "../audit/subject-list.ts";
import { eventsText } from "./audit-events-text.ts";
import {
  QUESTION_FLAGS,
  QUESTION_HELP,
  readLogQuestion,
  recordQuestion,
  runQuestion,
} from "./audit-question.ts";
import { isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice audit subject ID [FLAGS]

Lists who read one person: every event, by time; and what the answer does not cover.

  --user NAME        only what this user read, or this application's account
${QUESTION_HELP}`;

/** `sluice audit subject`: 0 when it could say, whatever it said. */
export function auditSubject(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  return runQuestion({ name: "audit subject", help: HELP, answer }, args, streams);
}

async function answer(args: readonly string[], tell: (line: string) => void): Promise<string | Wrong> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { user: { type: "string" }, ...QUESTION_FLAGS },
    allowPositionals: true,
  });
  const [id, ...rest] = positionals;
  if (id === undefined || rest.length > 0) return misused("give one id");
  const kind = kindOfValues([id.trim()]);
  if (kind !== undefined)
    return misused(`this is one of ${kind}, not an id; "sluice audit who-read --match" finds the person`);
  const log = await readLogQuestion(values);
  if (isWrong(log)) return log;
  const { user } = values;
  const { namespace, notCovered } = await withReadings({ ...log, events: "all" }, async (readings) => {
    if (user !== undefined) await checkUser(readings, user);
    const { words, namespace } = await checkWords(readings, log, []);
    return { namespace, notCovered: await coverageOf(readings, log.keys, words.tables.get(namespace) ?? []) };
  });
  const forgotten = await forgottenHashes(log.folder, log.keys, tell);
  const hashes = hashesOfOne(id.trim(), namespace, log.keys);
  const isForgotten = hashes.some((hash) => forgotten.has(hash));
  if (isForgotten) tell("this person is forgotten and is not looked for");
  const events = await readingsOf(log.folder, log.period, new Set(isForgotten ? [] : hashes), user);
  await recordQuestion(log, "subject", {
    people: 1,
    ...(user !== undefined && { about: user }),
  });
  const said = { namespace, events, notCovered };
  return log.json ? `${JSON.stringify(said, null, 2)}\n` : eventsText(said);
}
