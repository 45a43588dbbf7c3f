import { parseArgs } from "node:util";
import { checkKeys } from "../audit/question-words.ts";
import { reportOf } from "../audit/report.ts";
import { LOG_FLAGS, LOG_HELP, readLogQuestion, recordQuestion, runQuestion } from "./audit-question.ts";
import { reportText } from "./policy-report-text.ts";
import { isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice policy report [FLAGS]

Reports what the policy did, and what it would have done where it only observes (mode: observe): by rule, role, user
and form of statement. Proposes budgets from what users read in a day.

  --top N            how many rows of decisions to show (50)
${LOG_HELP}`;

/** `sluice policy report`: 0 when it could say, whatever it said. */
export function policyReport(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  return runQuestion({ name: "policy report", help: HELP, answer }, args, streams);
}

async function answer(args: readonly string[], tell: (line: string) => void): Promise<string | Wrong> {
  // People of all name spaces are counted together, as budgets count them: no table is named.
  const { values } = parseArgs({
    args: [...args],
    options: { top: { type: "string", default: "50" }, ...LOG_FLAGS },
  });
  const top = Number(values.top);
  if (!Number.isSafeInteger(top) || top < 1) return misused(`--top: "${values.top}" is no number of rows`);
  const log = await readLogQuestion(values);
  if (isWrong(log)) return log;
  const report = await reportOf(log.folder, log.period, async (readings) => {
    const foreign = await checkKeys(readings, log.keys);
    if (foreign.segments > 0)
      tell(
        `${foreign.segments} of ${foreign.of} segments were written with another key: who is in both is counted twice`,
      );
  });
  if (report.statements === 0) return { problem: "this log has no statement in this time", status: 1 };
  for (const name of report.unreadable) tell(`${name} cannot be read`);
  await recordQuestion(log, "report", {});
  return log.json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report, top);
}
