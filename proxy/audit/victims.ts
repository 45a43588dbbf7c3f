import type { AuditKeys } from "./audit-keys.ts";
import { type Database, drawAlike, matchPeople, peopleTable, refuseStrangeIds } from "./people-table.ts";
import { WrongQuestion } from "./question-words.ts";
import { hashesOfOne, idOnce, kindOfValues, type Listed } from "./subject-list.ts";
import type { Person } from "./who-read.ts";

/** Whose data leaked, and with whom they are compared. */
export interface VictimsQuestion {
  readonly list: readonly Listed[];
  /** The list has values of this column, not ids. */
  readonly match: string | undefined;
  /** People alike in these columns are compared; undefined: people whom somebody read. */
  readonly like: readonly string[] | undefined;
  readonly controls: number;
  /** Asks the database of these people; undefined: they are given by ids, and compared with people whom somebody read. */
  readonly database: AskDatabase | undefined;
}

/** Has `work` ask a database, in one transaction that writes nothing. */
export type AskDatabase = <T>(work: (database: Database) => Promise<T>) => Promise<T>;

export interface Victims {
  readonly leaked: readonly Person[];
  readonly controls: readonly Person[] | undefined;
  /** What became of the list on its way to ids. */
  readonly notes: readonly string[];
}

/** A person of the list who is known by an id. */
interface Victim {
  readonly id: string;
  readonly before?: number;
}

export async function victimsOf(
  question: VictimsQuestion,
  namespace: string,
  keys: readonly AuditKeys[],
  forgotten: ReadonlySet<string>,
): Promise<Victims> {
  const { list, match, like, controls: wanted, database: ask } = question;
  const kind = kindOfValues(list.map(({ value }) => value));
  if (match === undefined && kind !== undefined)
    throw new WrongQuestion(
      `--subjects: these are ${kind}, not ids of ${namespace}; name the column of the table that has them: --match COLUMN --upstream URI`,
    );
  const notes: string[] = [];
  const person = ({ id, before }: Victim, stratum: number): Person => ({
    ...{ hashes: hashesOfOne(id, namespace, keys), stratum },
    ...(before !== undefined && { before }),
  });
  const isForgotten = ({ id }: Victim) =>
    hashesOfOne(id, namespace, keys).some((hash) => forgotten.has(hash));
  const remembered = (people: readonly Victim[]) => {
    const each = eachOnce(people);
    if (each.length < people.length)
      notes.push(
        people.length - each.length === 1
          ? "1 is on the list twice and counts once"
          : `${people.length - each.length} are on the list more than once and count once`,
      );
    const left = each.filter((one) => !isForgotten(one));
    if (left.length < each.length)
      notes.push(`${each.length - left.length} of these people are forgotten and are not looked for`);
    return left;
  };
  if (ask === undefined) {
    const people = remembered(list.map(({ value: id, ...rest }) => ({ id, ...rest })));
    return { leaked: people.map((one) => person(one, 0)), controls: undefined, notes };
  }
  const found = await ask(async (database) => {
    const table = await peopleTable(database, namespace);
    let known: readonly Victim[] = list.map(({ value: id, ...rest }) => ({ id, ...rest }));
    if (match === undefined)
      await refuseStrangeIds(
        database,
        table,
        list.map(({ value }) => value),
      );
    else {
      const { ids, ambiguous, unknown } = await matchPeople(
        database,
        table,
        match,
        list.map(({ value }) => value),
      );
      known = list.flatMap(({ value, ...rest }) => {
        const id = ids.get(value);
        return id === undefined ? [] : [{ id, ...rest }];
      });
      if (unknown > 0) notes.push(`${unknown} of ${list.length} match no one in the table`);
      if (ambiguous > 0)
        notes.push(
          `${ambiguous} of ${list.length} belong to several people each and are left out: who is meant is not known`,
        );
      if (known.length === 0) throw new WrongQuestion(`--match: the table has none of these in "${match}"`);
    }
    const people = remembered(known);
    if (like === undefined) return { leaked: people.map((one) => person(one, 0)), controls: undefined };
    const alike = await drawAlike(
      database,
      table,
      like,
      people.map(({ id }) => id),
      wanted,
    );
    return compared(people, alike, person, notes);
  });
  return { ...found, notes };
}

/** Somebody may be written in several ways, or found by two values; what counts of them is what was before the first time. */
function eachOnce(people: readonly Victim[]): readonly Victim[] {
  const each = new Map<string, Victim>();
  for (const one of people) {
    const key = idOnce(one.id);
    const known = each.get(key);
    const before = Math.min(
      known?.before ?? Number.POSITIVE_INFINITY,
      one.before ?? Number.POSITIVE_INFINITY,
    );
    each.set(key, { id: known?.id ?? one.id, ...(Number.isFinite(before) && { before }) });
  }
  return [...each.values()];
}

/** Leaked people and controls of one stratum are alike, and what counts of them is what was before the same time. */
function compared(
  people: readonly Victim[],
  alike: Awaited<ReturnType<typeof drawAlike>>,
  person: (known: Victim, stratum: number) => Person,
  notes: string[],
): Omit<Victims, "notes"> {
  const strata = new Map<string, number>();
  const stratumOf = (kind: string, before: number | undefined) => {
    const key = `${before ?? ""} ${kind}`;
    const known = strata.get(key) ?? strata.size;
    strata.set(key, known);
    return known;
  };
  const times = new Map<string, (number | undefined)[]>();
  const leaked = people.flatMap((one) => {
    // As the table writes it: the list may have zeros before a number.
    const kind = alike.leaked.get(one.id) ?? alike.leaked.get(one.id.replace(/^0+(?=\d)/, ""));
    if (kind === undefined) return [];
    times.set(kind, [...(times.get(kind) ?? []), one.before]);
    return [person(one, stratumOf(kind, one.before))];
  });
  if (leaked.length < people.length)
    notes.push(`${people.length - leaked.length} are not in the table (any more) and are not compared`);
  const controls = alike.controls.map(({ id, kind }, i) => {
    const own = times.get(kind) ?? [];
    const before = own[i % Math.max(1, own.length)];
    return person({ id, ...(before !== undefined && { before }) }, stratumOf(kind, before));
  });
  return { leaked, controls };
}
