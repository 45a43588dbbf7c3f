import { type Attribution, attribute } from "./attribution/attribute.ts";
import type { AuditKeys } from "./audit-keys.ts";
import { type Coverage, coverageOf } from "./coverage.ts";
import { textList } from "./log-lines.ts";
import { type Asked, type Period, type Readings, withReadings } from "./readings.ts";

/** A leaked person, or a similar one. */
export interface Person {
  /** Under each key, and in each form of the id. */
  readonly hashes: readonly string[];
  /** People of one stratum are alike. */
  readonly stratum: number;
  /** Only readings before this count (Unix time in milliseconds). */
  readonly before?: number;
}

/** Which readings count. */
export interface Counted {
  /** Classes of which one must have been learned; empty: any, but not masks alone. */
  readonly needs: readonly string[];
  /** Only readings of people with whom nothing ties the reader. */
  readonly unexplainedOnly: boolean;
}

/** A user who read leaked people. */
export interface Suspect {
  readonly user: string;
  /** How many of the leaked people they read, and how many people in all. */
  readonly leaked: number;
  readonly people: number;
  /** How many of the leaked ones chance would give them. */
  readonly expected: number;
  /** Bound on the chance that any innocent user reads so many of them. */
  readonly chance: number;
  readonly first: number;
  readonly last: number;
  readonly addresses: readonly string[];
  readonly applications: readonly string[];
}

export interface WhoRead extends Pick<Attribution, "sources" | "basis"> {
  /** Most likely first; users who read none of the leaked are left out. */
  readonly suspects: readonly Suspect[];
  readonly users: number;
  /** Different people whom anybody read. */
  readonly people: number;
  readonly leaked: number;
  /** Leaked people whom nobody read in this log. */
  readonly unread: number;
  readonly readings: number;
  /** People like the leaked ones, out of the database; undefined: compared with people whom somebody read. */
  readonly controls: number | undefined;
  /** Readings that were left out: of masks alone, or of lines that do not say what was shown. */
  readonly leftOut: { readonly masks: number; readonly unsaid: number };
  readonly notCovered: Coverage;
}

export interface LeakQuestion {
  readonly folder: string;
  readonly period: Period;
  readonly keys: readonly AuditKeys[];
  readonly counted: Counted;
  /** A proxy asks beside its clients, and takes so many milliseconds at most; left out: a command asks. */
  readonly patience?: number;
}

/** Whom to compare, once the log has been read and the words of the question are known to be right. */
export interface Comparison {
  readonly leaked: readonly Person[];
  readonly controls: readonly Person[] | undefined;
  readonly tables: readonly string[];
}

/** Of a longer list so many are tested; all are counted. */
const MOST_TESTED = 5_000;
/** People whom somebody read, where the database is not asked for people alike. */
const SAMPLE = 50_000;

/** Who of the log's users read how much of the leaked people, and whether chance explains it. */
export async function whoRead(
  { folder, period, keys, counted, patience }: LeakQuestion,
  compare: (readings: Readings) => Promise<Comparison>,
): Promise<WhoRead> {
  const question = { folder, period, events: "all", ...(patience !== undefined && { patience }) } as const;
  return withReadings(question, async (readings) => {
    const { leaked, controls, tables } = await compare(readings);
    await readings.rows(readsView(counted));
    await readings.ask(askedOf(leaked, 0));
    const [totals] = await readings.rows<{ users: number; people: number; readings: number }>(TOTALS);
    const { users = 0, people = 0, readings: count = 0 } = totals ?? {};
    const found = await readings.rows<ReaderScore>(READERS);
    const [read] = await readings.rows<{ people: number }>(FOUND);
    const [left] = await readings.rows<{ masks: number; unsaid: number }>(LEFT_OUT);
    const tested = await testedPeople(readings, leaked);
    const result = await attributed(readings, tested, controls);
    return {
      suspects: rank(found, result),
      sources: result.sources,
      basis: result.basis,
      ...{ users, people, leaked: leaked.length },
      unread: leaked.length - (read?.people ?? 0),
      readings: count,
      controls: controls?.length,
      leftOut: { masks: left?.masks ?? 0, unsaid: counted.needs.length > 0 ? (left?.unsaid ?? 0) : 0 },
      notCovered: await coverageOf(readings, keys, tables),
    };
  });
}

/** Without controls, the log's people replace them; then people who were not read are no evidence. */
async function testedPeople(readings: Readings, leaked: readonly Person[]): Promise<readonly Person[]> {
  const numbers = await readings.rows<{ number: number }>(
    `SELECT number FROM asked GROUP BY number ORDER BY hash(min(subject)) LIMIT ${MOST_TESTED}`,
  );
  return numbers.flatMap(({ number }) => leaked[number] ?? []);
}

async function attributed(
  readings: Readings,
  leaked: readonly Person[],
  controls: readonly Person[] | undefined,
): Promise<Attribution> {
  const others = controls ?? (await sampleOfRead(readings));
  await readings.ask([...askedOf(leaked, 0), ...askedOf(others, leaked.length)]);
  const found = await readings.rows<Numbers>(whomBy("reads"));
  const work = await readings.rows<Numbers>(whomBy("work"));
  const people = [...leaked, ...others];
  const seen = new Set(found.flatMap(({ numbers }) => numbers));
  // People who were not read are on both sides, or on neither.
  const kept = people.flatMap((person, number) =>
    controls !== undefined || seen.has(number) ? [{ person, number }] : [],
  );
  const places = new Map(kept.map(({ number }, place) => [number, place]));
  return attribute(
    {
      stratum: kept.map(({ person }) => (controls === undefined ? 0 : person.stratum)),
      leaked: kept.map(({ number }) => number < leaked.length),
      among: controls === undefined ? "read" : "all",
    },
    placed(found, places),
    { work: placed(work, places) },
  );
}

interface Numbers {
  readonly user: string;
  readonly numbers: readonly number[];
}

function placed(
  readers: readonly Numbers[],
  places: ReadonlyMap<number, number>,
): ReadonlyMap<string, readonly number[]> {
  return new Map(
    readers.map(({ user, numbers }) => [user, numbers.flatMap((number) => places.get(number) ?? [])]),
  );
}

/** In the order of a hash of their hashes, which is nobody's choice and the same each time. */
async function sampleOfRead({ rows }: Readings): Promise<readonly Person[]> {
  const sample = await rows<{ subject: string }>(
    `SELECT subject FROM (SELECT DISTINCT subject FROM reads ANTI JOIN asked USING (subject)) ORDER BY hash(subject) LIMIT ${SAMPLE}`,
  );
  return sample.map(({ subject }) => ({ hashes: [subject], stratum: 0 }));
}

function* askedOf(people: readonly Person[], from: number): Generator<Asked> {
  for (const [i, { hashes, before }] of people.entries())
    for (const subject of hashes)
      yield { subject, number: from + i, ...(before !== undefined && { before }) };
}

/** What one user read. */
type ReaderScore = Omit<Suspect, "expected" | "chance">;

/** Who read whom, one row for each person of each event that counts. */
function readsView({ needs, unexplainedOnly }: Counted): string {
  const counts =
    needs.length === 0 ? "NOT only_masks" : `list_has_any(coalesce(classes, []), ${textList(needs)})`;
  return `CREATE OR REPLACE TEMP VIEW reads AS
    SELECT * FROM (
      SELECT "user", time, address, application, classes, unnest(subjects) AS subject,
        unnest(string_split(unexplained, '')) = '1' AS unexplained
      FROM readings WHERE ${counts}
    )${unexplainedOnly ? " WHERE unexplained" : ""}`;
}

const TOTALS = `
  SELECT count(DISTINCT "user")::DOUBLE AS users, count(*)::DOUBLE AS readings,
    (SELECT count(DISTINCT subject)::DOUBLE FROM reads) AS people
  FROM readings WHERE len(subjects) > 0`;

const READERS = `
  WITH amounts AS (SELECT "user", count(DISTINCT subject)::DOUBLE AS people FROM reads GROUP BY "user")
  SELECT "user", count(DISTINCT number)::DOUBLE AS leaked, any_value(amounts.people) AS people,
    min(time) AS first, max(time) AS last, list_sort(list(DISTINCT address)) AS addresses,
    list_sort(list(DISTINCT application)) AS applications
  FROM reads JOIN asked USING (subject) JOIN amounts USING ("user") WHERE time < before GROUP BY "user"`;

const FOUND = `
  SELECT count(DISTINCT number)::DOUBLE AS people FROM reads JOIN asked USING (subject) WHERE time < before`;

const LEFT_OUT = `
  SELECT (count(*) FILTER (only_masks))::DOUBLE AS masks, (count(*) FILTER (classes IS NULL))::DOUBLE AS unsaid
  FROM readings WHERE list_has_any(subjects, (SELECT list(subject) FROM asked))`;

/** Of the readings that count, or of all. */
function whomBy(view: "reads" | "work"): string {
  const from =
    view === "reads" ? "reads" : '(SELECT "user", time, unnest(subjects) AS subject FROM readings) AS work';
  return `SELECT "user", list(DISTINCT number ORDER BY number) AS numbers FROM ${from} JOIN asked USING (subject)
    WHERE time < before GROUP BY "user" ORDER BY "user"`;
}

function rank(readers: readonly ReaderScore[], { users, sources }: Attribution): readonly Suspect[] {
  const isSource = (user: string) => sources.some((source) => source.user === user);
  return readers
    .map((reader) => ({ ...reader, ...(users.get(reader.user) ?? { chance: 1, expected: 0 }) }))
    .toSorted(
      (a, b) =>
        Number(isSource(b.user)) - Number(isSource(a.user)) ||
        a.chance - b.chance ||
        b.leaked - a.leaked ||
        (a.user < b.user ? -1 : 1),
    );
}
