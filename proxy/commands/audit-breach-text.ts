import { type Affected, type BreachFigures, NOTHING_SHOWN, type Share } from "../audit/breach.ts";
import type { Coverage } from "../audit/coverage.ts";
import { csvLine } from "../audit/csv.ts";
import { readingReason } from "../audit/identify.ts";
import { coverageText } from "./audit-coverage-text.ts";
import { counted, minute, printable } from "./text-table.ts";

/** What stands beside the figures. */
interface Beside {
  readonly since: { readonly made: number; readonly changes: readonly string[] } | undefined;
  readonly aware: number | undefined;
  readonly group: string | undefined;
  readonly forgotten: number;
  readonly coverages: readonly { readonly user: string; readonly coverage: Coverage }[];
}

/** GDPR Art. 33(1). */
const DUE = 72 * 3_600_000;

/** The sheet for the supervisory authority, in the order of GDPR Art. 33(3). What people must write is left open. */
export function sheet(figures: BreachFigures, beside: Beside): string {
  const { people, records, first, last, users, namespace, byReason } = figures;
  const { aware, group, since } = beside;
  const names = users.map(mark).join(", ");
  return [
    `# Breach: what ${names} read\n`,
    `Made ${minute(figures.made)} out of the audit log of Sluice.` +
      (aware === undefined
        ? "\n"
        : ` Known since ${minute(aware)}: the notification is due ${minute(aware + DUE)} (Art. 33(1)).\n`),
    ...(since === undefined
      ? []
      : [`## Changed since ${minute(since.made)} (Art. 33(4))\n`, list(since.changes, "Nothing.")]),
    "## Nature, people and records (Art. 33(3)(a))\n",
    `**${people} people** of ${namespace} and **${records} readings** (one person in one statement), ` +
      `by ${users.length === 1 ? "the account" : "the accounts"} ${names}` +
      (first === undefined || last === undefined ? ".\n" : `, from ${minute(first)} to ${minute(last)}.\n`),
    shares("what was shown in the clear, or looked up by", figures.byClass),
    "A person may be in several lines. " +
      `Of people under "${NOTHING_SHOWN}" the account saw that they exist, and masks. Seeing is a breach as well as taking (Art. 4(12)).\n`,
    ...(group === undefined ? [] : [shares(mark(group), figures.byGroup)]),
    "Work and the rest:\n",
    list([
      `${byReason.without} people read without any reason that the policy knows`,
      `${byReason.both} read with a reason at one time and without at another`,
      `${byReason.with} read with a reason only`,
      `${byReason["not asked"]} for whom the policy did not require a reason: work and theft look the same`,
    ]),
    "## Likely consequences (Art. 33(3)(c))\n",
    "*To be written: what could someone do with these classes of data?*\n",
    "## Measures (Art. 33(3)(d))\n",
    list(measureLines(figures.measures), "None is in the log."),
    "## What is not known\n",
    list([
      ...(figures.unidentified > 0
        ? [`who ${figures.unidentified} of the people are: their ids are not in the table (any more)`]
        : []),
      ...(figures.unsaid > 0
        ? [`what of ${figures.unsaid} people was shown: older lines do not say it`]
        : []),
      ...(beside.forgotten > 0 ? [`${beside.forgotten} people who are forgotten (sluice audit forget)`] : []),
      "what became of the data afterwards",
    ]),
    ...beside.coverages.flatMap(({ user, coverage }) => [`Of ${mark(user)}:\n`, coverageText(coverage)]),
    "## People to notify (Art. 34)\n",
    `people.csv lists ${people - figures.unidentified} people by id, with what was shown of each.\n`,
  ].join("\n");
}

/** Each page that somebody looked at while they worked on the case is a question: together they are one line. */
function measureLines(measures: BreachFigures["measures"]): readonly string[] {
  const isQuestion = ({ kind }: (typeof measures)[number]) => kind === "question";
  const asked = measures.filter(isQuestion);
  const [first, last] = [asked[0], asked.at(-1)];
  return [
    ...measures
      .filter((one) => !isQuestion(one))
      .map(({ time, kind, by, told }) => `${minute(time)} ${kind} by ${mark(by)}: ${mark(told)}`),
    ...(first === undefined || last === undefined
      ? []
      : [
          `${minute(first.time)} to ${minute(last.time)} ${counted(asked.length, "question")} to the log by ` +
            [...new Set(asked.map(({ by }) => mark(by)))].join(", "),
        ]),
  ];
}

function shares(what: string, all: readonly Share[]): string {
  return [
    `| ${what} | people | readings |`,
    "| --- | ---: | ---: |",
    ...all.map(({ name, people, records }) => `| ${mark(name)} | ${people} | ${records} |`),
    "",
  ].join("\n");
}

function list(lines: readonly string[], none = ""): string {
  return `${lines.length === 0 ? none : lines.map((line) => `- ${line}`).join("\n")}\n`;
}

/** Names come from clients and columns: none of them writes Markdown. */
function mark(text: string): string {
  return printable(text).replaceAll(/[\\`*_[\]<>|#]/g, "\\$&");
}

/** The list of those who must be told. */
export function affectedCsv(affected: readonly Affected[]): string {
  return [
    csvLine(["id", "hash", "group", "users", "first", "last", "statements", "in_the_clear", "reason"]),
    ...affected.map((person) =>
      csvLine([
        person.id ?? "",
        person.hashes.join(" "),
        person.group ?? "",
        person.users.join(" "),
        new Date(person.first).toISOString(),
        new Date(person.last).toISOString(),
        String(person.statements),
        person.classes.join(" ") || (person.unsaid ? "not recorded" : "nothing"),
        readingReason(person),
      ]),
    ),
  ].join("");
}
