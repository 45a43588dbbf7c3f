import { type Identified, type Reason, readingReason } from "./identify.ts";
import type { MeasureTaken, ReadBy } from "./read-by.ts";

/** What one of the users in question read. */
export interface UserReadings {
  readonly user: string;
  readonly found: ReadBy;
  readonly people: readonly Identified[];
}

/** Somebody whose data is affected. */
export interface Affected extends Identified {
  readonly users: readonly string[];
  /** The country or tenant that was asked for; undefined where it is not known. */
  readonly group: string | undefined;
}

/** What a notification of a breach states (GDPR Art. 33(3)), so far as the log tells. */
export interface BreachFigures {
  /** Unix time, milliseconds: when the figures were made. */
  readonly made: number;
  readonly users: readonly string[];
  readonly namespace: string;
  readonly people: number;
  /** Readings: one person in one statement. */
  readonly records: number;
  readonly first: number | undefined;
  readonly last: number | undefined;
  readonly byClass: readonly Share[];
  readonly byGroup: readonly Share[];
  readonly byReason: Readonly<Record<Reason, number>>;
  /** People whose id is not known any more, and people of whom it is not known what was shown. */
  readonly unidentified: number;
  readonly unsaid: number;
  readonly measures: readonly MeasureTaken[];
}

export interface Share {
  readonly name: string;
  readonly people: number;
  readonly records: number;
}

/** Masks alone, or nothing that has a class. */
export const NOTHING_SHOWN = "nothing in the clear";

/** The people of all users together, each once. */
export function affectedBy(
  readings: readonly UserReadings[],
  groups: ReadonlyMap<string, string>,
): readonly Affected[] {
  const known = new Map<string, Affected>();
  for (const { user, people } of readings) {
    for (const person of people) {
      const key = person.id ?? person.hashes.join(" ");
      const before = known.get(key);
      const group = person.id === undefined ? undefined : groups.get(person.id);
      known.set(
        key,
        before === undefined ? { ...person, users: [user], group } : together(before, person, user),
      );
    }
  }
  return [...known.values()].toSorted((a, b) => a.first - b.first);
}

function together(a: Affected, b: Identified, user: string): Affected {
  return {
    ...a,
    hashes: [...new Set([...a.hashes, ...b.hashes])],
    first: Math.min(a.first, b.first),
    last: Math.max(a.last, b.last),
    statements: a.statements + b.statements,
    classes: [...new Set([...a.classes, ...b.classes])].toSorted(),
    unsaid: a.unsaid || b.unsaid,
    explained: a.explained + b.explained,
    unexplained: a.unexplained + b.unexplained,
    users: [...a.users, user],
  };
}

export function breachFigures(
  readings: readonly UserReadings[],
  affected: readonly Affected[],
  namespace: string,
  made: number,
): BreachFigures {
  const byReason = { with: 0, without: 0, both: 0, "not asked": 0 };
  for (const person of affected) byReason[readingReason(person)] += 1;
  const groups = affected.some(({ group }) => group !== undefined);
  return {
    ...{ made, namespace, people: affected.length, byReason },
    users: readings.map(({ user }) => user),
    records: affected.reduce((sum, { statements }) => sum + statements, 0),
    first:
      affected.length === 0
        ? undefined
        : affected.reduce((least, one) => Math.min(least, one.first), Infinity),
    last: affected.length === 0 ? undefined : affected.reduce((most, one) => Math.max(most, one.last), 0),
    byClass: shares(affected, ({ classes, unsaid }) =>
      classes.length > 0 ? classes : [unsaid ? "not recorded" : NOTHING_SHOWN],
    ),
    byGroup: groups ? shares(affected, ({ group }) => [group ?? "not known"]) : [],
    unidentified: affected.filter(({ id }) => id === undefined).length,
    unsaid: affected.filter(({ unsaid }) => unsaid).length,
    measures: readings
      .flatMap(({ user, found }) => found.measures.map((one) => ({ ...one, told: `${user}: ${one.told}` })))
      .toSorted((a, b) => a.time - b.time),
  };
}

function shares(
  affected: readonly Affected[],
  namesOf: (person: Affected) => readonly string[],
): readonly Share[] {
  const known = new Map<string, { name: string; people: number; records: number }>();
  for (const person of affected) {
    for (const name of namesOf(person)) {
      const share = known.get(name) ?? { name, people: 0, records: 0 };
      known.set(name, share);
      share.people += 1;
      share.records += person.statements;
    }
  }
  return [...known.values()].toSorted((a, b) => b.people - a.people || (a.name < b.name ? -1 : 1));
}

/** What has changed since the figures were last made: GDPR Art. 33(4) lets them be given in phases. */
export function changesSince(before: BreachFigures, now: BreachFigures): readonly string[] {
  const changed = (what: string, a: number, b: number) => (a === b ? [] : [`${what}: ${a} before, ${b} now`]);
  const byName = (shares: readonly Share[]) => new Map(shares.map((share) => [share.name, share.people]));
  const listed = (what: string, a: readonly Share[], b: readonly Share[]) => {
    const [old, recent] = [byName(a), byName(b)];
    return [...new Set([...old.keys(), ...recent.keys()])].flatMap((name) =>
      changed(`${what} ${name}`, old.get(name) ?? 0, recent.get(name) ?? 0),
    );
  };
  return [
    ...(before.users.join() === now.users.join()
      ? []
      : [`users: ${before.users.join(", ")} before, ${now.users.join(", ")} now`]),
    ...changed("people", before.people, now.people),
    ...changed("readings", before.records, now.records),
    ...listed("people with", before.byClass, now.byClass),
    ...listed("people of", before.byGroup, now.byGroup),
    ...changed("people read without a reason", before.byReason.without, now.byReason.without),
    ...changed("measures", before.measures.length, now.measures.length),
  ];
}
