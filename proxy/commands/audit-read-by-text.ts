import { csvLine } from "../audit/csv.ts";
import { type Identified, type Reason, readingReason } from "../audit/identify.ts";
import type { ReadBy } from "../audit/read-by.ts";
import { coverageText } from "./audit-coverage-text.ts";
import { minute, printable, table } from "./text-table.ts";

/** Whom a user read, and who they are. */
export interface ReadByAnswer {
  readonly user: string;
  readonly namespace: string;
  readonly found: ReadBy;
  readonly people: readonly Identified[];
  /** Whether anybody was looked for by an id. */
  readonly looked: boolean;
  /** People who are forgotten: they are in no answer. */
  readonly forgotten: number;
}

const REASONS: Readonly<Record<Reason, string>> = {
  with: "with a reason",
  without: "without a reason",
  both: "at times with a reason, at times without",
  "not asked": "without the policy asking for a reason",
};

/** The answer to "whom did they read?", for people. */
export function readByText(answer: ReadByAnswer, top: number): string {
  const { user, namespace, found, people, looked, forgotten } = answer;
  const missing = people.filter(({ id }) => id === undefined).length;
  const [first, last] = [
    people.reduce((least, one) => Math.min(least, one.first), Number.POSITIVE_INFINITY),
    people.reduce((most, one) => Math.max(most, one.last), 0),
  ];
  return [
    `${printable(user)} read ${people.length} people of ${namespace}` +
      (people.length > 0 ? `, from ${minute(first)} to ${minute(last)}\n` : "\n"),
    `${found.statements} statements of theirs gave ${found.rows} rows, of whatever kind\n`,
    ...countsOf(people).map((line) => `${line}\n`),
    ...(looked && missing > 0
      ? [
          `${missing} of them were not found among the ids that were looked for: deleted since, or of another table\n`,
        ]
      : []),
    ...(forgotten > 0 ? [`${forgotten} more are forgotten (sluice audit forget) and in no count\n`] : []),
    ...(top === 0 || people.length === 0 ? [] : ["\n", table([COLUMNS, ...people.slice(0, top).map(row)])]),
    ...(people.length > top && top > 0 ? [`and ${people.length - top} more: --csv or --json has all\n`] : []),
    "\n",
    coverageText(found.notCovered),
  ].join("");
}

/** By class and by reason; one person may stand in several classes. */
export function countsOf(people: readonly Identified[]): readonly string[] {
  const classes = new Map<string, number>();
  for (const person of people)
    for (const name of person.classes) classes.set(name, (classes.get(name) ?? 0) + 1);
  const masks = people.filter((person) => person.classes.length === 0 && !person.unsaid).length;
  const unsaid = people.filter((person) => person.unsaid).length;
  const shown = [...classes]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => `${name} of ${count}`);
  return [
    ...(shown.length > 0 ? [`in the clear, or looked up by: ${shown.join(", ")}`] : []),
    ...(masks > 0 ? [`of ${masks} nothing that has a class was shown in the clear`] : []),
    ...(unsaid > 0 ? [`of ${unsaid} older lines do not say what was shown`] : []),
    ...(Object.keys(REASONS) as Reason[]).flatMap((reason) => {
      const count = people.filter((person) => readingReason(person) === reason).length;
      return count === 0 ? [] : [`${count} ${REASONS[reason]}`];
    }),
  ];
}

const COLUMNS = ["person", "first", "last", "statements", "in the clear", "reason"];

function row(person: Identified): readonly (string | number)[] {
  const { first, last, statements } = person;
  return [
    printable(nameOf(person)),
    minute(first),
    minute(last),
    statements,
    shownOf(person),
    readingReason(person),
  ];
}

function nameOf({ id, hashes }: Identified): string {
  return id ?? `(${hashes[0] ?? ""})`;
}

function shownOf({ classes, unsaid }: Identified): string {
  return classes.join(" ") || (unsaid ? "not recorded" : "nothing");
}

/** The hash stands where no id is known. */
export function readByCsv({ people }: ReadByAnswer): string {
  return [
    csvLine(["id", "hash", "first", "last", "statements", "in_the_clear", "reason"]),
    ...people.map((person) =>
      csvLine([
        person.id ?? "",
        person.hashes.join(" "),
        new Date(person.first).toISOString(),
        new Date(person.last).toISOString(),
        String(person.statements),
        shownOf(person),
        readingReason(person),
      ]),
    ),
  ].join("");
}

export function readByJson({ user, namespace, found, people, forgotten }: ReadByAnswer): string {
  const { statements, rows, notCovered } = found;
  const list = people.map((person) => ({ ...person, id: person.id ?? null, reason: readingReason(person) }));
  return `${JSON.stringify({ user, namespace, statements, rows, forgotten, people: list, notCovered }, null, 2)}\n`;
}
