import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { AuditKeys } from "../audit/keys.ts";
import type { Period } from "../audit/readings.ts";
import { hashesOf, readSubjects } from "../audit/subject-list.ts";
import { type EventDetails, readingsOf, type Suspect, type WhoRead, whoRead } from "../audit/who-read.ts";
import {
  complain,
  isWrong,
  minute,
  misused,
  printable,
  readFolder,
  readKeys,
  readPeriod,
  STANDARD,
  type Streams,
  table,
  type Wrong,
} from "./audit-arguments.ts";
import { withoutForgotten } from "./audit-forget.ts";

const HELP = `usage: sluice audit who-read --subjects FILE [FOLDER] [FLAGS]

Given people whose data leaked, says who read them: each user's part of the list against what chance would
give somebody who reads as much as he does.

  --subjects FILE    CSV, the ids in its first column
  --column NAME      the column that has the ids
  --table NAME       where the ids come from, as the policy's "subject" leads to (public.customers.id)
  --audit FOLDER     the audit log (audit/), if FOLDER does not say it
  --since, --until   a day or a time: 2026-05-01, 2026-05-01T08:00Z
  --user NAME        list the single events in which this user read people of the list
  --top NUMBER       how many users to show (10)
  --key-file FILE    the fleet's secret (or SLUICE_KEY); several, if it changed
  --json             for programs
`;

const OPTIONS = {
  subjects: { type: "string" },
  column: { type: "string" },
  table: { type: "string", default: "public.customers.id" },
  audit: { type: "string" },
  since: { type: "string" },
  until: { type: "string" },
  user: { type: "string" },
  top: { type: "string", default: "10" },
  "key-file": { type: "string", multiple: true, default: [] as string[] },
  json: { type: "boolean", default: false },
} as const;

interface Question {
  readonly folder: string;
  readonly namespace: string;
  readonly ids: readonly string[];
  readonly header: string | undefined;
  readonly keys: readonly AuditKeys[];
  readonly period: Period;
  readonly user: string | undefined;
  readonly top: number;
  readonly json: boolean;
}

/** `sluice audit who-read`: 0 when it could say, whatever it said. */
export async function auditWhoRead(args: readonly string[], streams: Streams = STANDARD): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(HELP);
    return 0;
  }
  const question = await readQuestion(args);
  if (isWrong(question)) return complain("audit who-read", question, streams);
  if (question.header !== undefined) {
    streams.errors.write(`sluice audit who-read: the first line names the column "${question.header}"\n`);
  }
  const leaked = await withoutForgotten(
    question.folder,
    question.keys,
    hashesOf(question.ids, question.namespace, question.keys),
    (line) => streams.errors.write(`sluice audit who-read: ${line}\n`),
  );
  if (question.user !== undefined) {
    const people = new Set(leaked.keys());
    const events = await readingsOf(question.folder, question.period, people, question.user);
    streams.output.write(question.json ? `${JSON.stringify(events, null, 2)}\n` : eventsText(events));
    return 0;
  }
  const answer = await whoRead(question.folder, question.period, leaked);
  for (const name of answer.unreadable)
    streams.errors.write(`sluice audit who-read: ${name} cannot be read\n`);
  streams.output.write(question.json ? `${JSON.stringify(answer, null, 2)}\n` : answerText(answer, question));
  return 0;
}

async function readQuestion(args: readonly string[]): Promise<Question | Wrong> {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: OPTIONS,
      allowPositionals: true,
    });
    if (values.subjects === undefined) return misused("--subjects: missing; whose data leaked?");
    const top = Number(values.top);
    if (!Number.isSafeInteger(top) || top < 1) return misused("--top: not a whole number above 0");
    const period = readPeriod(values.since, values.until);
    if (isWrong(period)) return period;
    const keys = readKeys(values["key-file"], process.env);
    if (isWrong(keys)) return keys;
    if (keys.length === 0)
      return misused("--key-file: missing (or SLUICE_KEY); people stand in the log as hashes");
    const folder = await readFolder(positionals, values.audit, "audit/");
    if (isWrong(folder)) return folder;
    const list = readSubjects(await readFile(values.subjects, "utf8"), values.column);
    if (!list.ok) return { problem: `--subjects: ${list.problem}`, status: 1 };
    const { user, json, table: namespace } = values;
    return { folder, namespace, ids: list.ids, header: list.header, keys, period, user, top, json };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code?.startsWith("ERR_PARSE_ARGS") ? misused(message) : { problem: message, status: 1 };
  }
}

function answerText(answer: WhoRead, { top, namespace }: Question): string {
  const { suspects, leaked, unread, users, people, readings } = answer;
  const known = `${leaked} leaked people of ${namespace}, ${leaked - unread} of them read by anybody in this log`;
  const scope = `${readings} readings by ${users} users, of ${people} different people`;
  const [first, second] = suspects;
  const unnamed = unnamedText(answer);
  if (first === undefined) return `${known}\n${scope}\nNobody in this log read any of them.\n${unnamed}`;
  return [
    `${known}\n${scope}\n\n`,
    table([
      ["user", "leaked", "by chance", "people read", "score", "chance", "first", "last"],
      ...suspects.slice(0, top).map(row),
    ]),
    "\n",
    `${conclusion(first, second, leaked)}\n`,
    `addresses: ${first.addresses.map(printable).join(", ")}\n`,
    `applications: ${first.applications.map(printable).join(", ")}\n${unnamed}\n`,
    "score: how many times better (as a natural logarithm) it fits that this user is the source than that the\n",
    "list fell on his readings by chance. chance: at most this probable that any innocent user looks so; honest\n",
    "users whose customers leak more often than others come out higher than chance would have them.\n",
  ].join("");
}

function row(suspect: Suspect): readonly (string | number)[] {
  const { user, leaked, expected, people, score, chance, first, last } = suspect;
  const points = Number(score.toFixed(1));
  return [
    printable(user),
    leaked,
    Number(expected.toFixed(1)),
    people,
    points,
    percent(chance),
    minute(first),
    minute(last),
  ];
}

/** Large results name only their first people: whoever fetched them may have had any of the leaked. */
function unnamedText({ unnamed }: WhoRead): string {
  if (unnamed.length === 0) return "";
  const users = unnamed.slice(0, 5).map(({ user, people }) => `${printable(user)} (${people})`);
  return `people read beyond those that events name: ${users.join(", ")}\n`;
}

/** How sure it is, in words. */
function conclusion(first: Suspect, second: Suspect | undefined, leaked: number): string {
  const who = `${printable(first.user)} read ${first.leaked} of the ${leaked} leaked people`;
  if (first.chance > 0.01) return `${who}: chance alone may explain that. No user stands out.`;
  if (first.likelihood < 0.99 && second !== undefined) {
    return `${who}, but ${printable(second.user)} stands out nearly as much: ${percent(first.likelihood)} to ${percent(second.likelihood)}.`;
  }
  return `${who}, which chance gives to no innocent user but with a probability of ${percent(first.chance)}.`;
}

function percent(share: number): string {
  if (share === 0) return "0 %";
  return share < 0.0001
    ? `${(share * 100).toExponential(0)} %`
    : `${(share * 100).toFixed(share < 0.1 ? 2 : 0)} %`;
}

/** Single events, for whoever has to look at them one by one. */
export function eventsText(events: readonly EventDetails[]): string {
  if (events.length === 0) return "No event.\n";
  const rows = events.map((event) => [
    minute(event.time),
    printable(event.user),
    event.address,
    printable(event.application),
    event.people,
    `${event.writer}:${event.sequence}`,
    printable(event.statement).slice(0, 80),
  ]);
  return table([["time", "user", "address", "application", "people", "event", "statement"], ...rows]);
}
