import { parseArgs } from "node:util";
import { readingsOf } from "../audit/person-events.ts";
import { withReadings } from "../audit/readings.ts";
import { hashesOfOne } from "../audit/subject-list.ts";
import { complain, isWrong, misused, STANDARD, type Streams } from "./audit-arguments.ts";
import { eventsText } from "./audit-events-text.ts";
import { forgottenHashes } from "./audit-forget.ts";
import {
  checkWords,
  QUESTION_FLAGS,
  QUESTION_HELP,
  readLogQuestion,
  recordQuestion,
  wrongOf,
} from "./audit-question.ts";

const HELP = `usage: sluice audit subject ID [FLAGS]

Says who read one person: every event, in the order of time.

  --user NAME        only what this user read
${QUESTION_HELP}`;

/** `sluice audit subject`: 0 when it could say, whatever it said. */
export async function auditSubject(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(HELP);
    return 0;
  }
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { user: { type: "string" }, ...QUESTION_FLAGS },
      allowPositionals: true,
    });
    const [id, ...rest] = positionals;
    if (id === undefined || rest.length > 0)
      return complain("audit subject", misused("give one id"), streams);
    const log = await readLogQuestion(values);
    if (isWrong(log)) return complain("audit subject", log, streams);
    const { namespace } = await withReadings({ ...log, events: "all" }, (readings) =>
      checkWords(readings, log, []),
    );
    const tell = (line: string) => streams.errors.write(`sluice audit subject: ${line}\n`);
    const forgotten = await forgottenHashes(log.folder, log.keys, tell);
    const hashes = hashesOfOne(id, namespace, log.keys);
    const isForgotten = hashes.some((hash) => forgotten.has(hash));
    if (isForgotten) tell("this person is forgotten and is not looked for");
    const events = await readingsOf(log.folder, log.period, new Set(isForgotten ? [] : hashes), values.user);
    await recordQuestion(log, "subject", {
      people: 1,
      ...(values.user !== undefined && { about: values.user }),
    });
    streams.output.write(log.json ? `${JSON.stringify(events, null, 2)}\n` : eventsText(events));
    return 0;
  } catch (error) {
    return complain("audit subject", wrongOf(error), streams);
  }
}
