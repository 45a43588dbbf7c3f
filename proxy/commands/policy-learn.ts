import { parseArgs } from "node:util";
import { type Learned, learnedOf } from "../audit/learned.ts";
import { LOG_FLAGS, LOG_HELP, readLogQuestion, recordQuestion, runQuestion } from "./audit-question.ts";
import { isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";
import { minute, printable } from "./text-table.ts";

const HELP = `usage: sluice policy learn ACCOUNT [FLAGS]

Prints a fence for an application's account, as a policy file: the statements that it has run (without literals), its
addresses and programs, and the most people that one run has shown. Everything in the log is then allowed, so read the
file before you use it. The policy decides on all other statements: outside: observe, alert, mask or refuse.

${LOG_HELP}
As in: sluice policy learn helpdesk_app --since 2026-05-01 > policies/helpdesk-fence.yaml
`;

/** `sluice policy learn`: 0 when the fence is printed. */
export function policyLearn(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  return runQuestion({ name: "policy learn", help: HELP, answer }, args, streams);
}

/** A fence of more is no fence, and nobody reads it: texts that nobody can take apart hold their literals. */
const MOST_STATEMENTS = 5_000;
/** Of programs that carry a process id or a person, only the address is left. */
const MOST_PROGRAMS = 20;

async function answer(args: readonly string[], tell: (line: string) => void): Promise<string | Wrong> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: LOG_FLAGS,
    allowPositionals: true,
  });
  const [account, ...rest] = positionals;
  if (account === undefined || rest.length > 0) return misused("name one account");
  const log = await readLogQuestion(values);
  if (isWrong(log)) return log;
  const learned = await learnedOf(log.folder, log.period, account);
  if (learned === undefined)
    return { problem: `this log has no statement of "${account}" in this time`, status: 1 };
  if (learned.shapes.length > MOST_STATEMENTS)
    tell(`${learned.shapes.length} statements: only the ${MOST_STATEMENTS} most frequent are written`);
  await recordQuestion(log, "learn", { about: account });
  return log.json ? `${JSON.stringify(learned, null, 2)}\n` : fenceText(account, learned);
}

/** Texts are in quotes: JSON's are YAML's as well. */
export function fenceText(account: string, { runs, first, last, places, shapes }: Learned): string {
  const byAddress = new Map<string, string[]>();
  for (const { address, program } of places)
    byAddress.set(address, [...(byAddress.get(address) ?? []), program]);
  const isMany = places.length > MOST_PROGRAMS;
  return [
    `# What ${printable(account)} ran from ${minute(first)} to ${minute(last)}: ${runs} statements of ${shapes.length} forms.\n`,
    "# Everything listed here is allowed: remove what the application does not need.\n",
    "version: 1\n\nfences:\n",
    `  ${JSON.stringify(account)}:\n    outside: alert          # observe, alert, mask or refuse\n    places:\n`,
    ...[...byAddress].flatMap(([address, programs]) =>
      (isMany ? ["*"] : programs).map(
        (program) =>
          `      - { from: [${JSON.stringify(address)}], program: ${JSON.stringify(literally(program, isMany))} }\n`,
      ),
    ),
    "    statements:\n",
    ...shapes
      .slice(0, MOST_STATEMENTS)
      .map(
        ({ statement, people, runs: times, tables }) =>
          `      - people: ${people}          # ${times} runs\n        shape: ${JSON.stringify(statement)}\n${tablesText(tables)}`,
      ),
  ].join("");
}

/** More than these are the catalogs of a tool, or a tenant's schema each. */
const MOST_TABLES = 50;

function tablesText(tables: readonly string[]): string {
  return tables.length > MOST_TABLES ? "" : `        tables: ${JSON.stringify(tables)}\n`;
}

/** What a client calls itself must not become a wildcard. */
function literally(program: string, isWildcard: boolean): string {
  return isWildcard ? program : program.replaceAll("*", "?");
}
