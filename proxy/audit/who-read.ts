import { type EventDetails, type Period, type Reading, readerName, scanReadings } from "./scan.ts";

/**
 * How likely each user is the source of a leak.
 *
 * A leak of n people is compared with two stories. Chance: each leaked person is any one of all the people
 * whom this log knows, so a user who read the share p of them read each with probability p. Source: the user
 * read the share k/n that he did read. The score is the logarithm of how much better the second explains
 * what is seen: n · KL(k/n ‖ p), and 0 where k/n is not above p. By Chernoff's bound, e^-score is the most
 * that chance gives to "k of n or more"; times the number of users it bounds the chance that *any* innocent
 * user looks like this.
 */
export interface Suspect {
  readonly user: string;
  /** How many of the leaked people he read. */
  readonly leaked: number;
  /** How many people he read in all. */
  readonly people: number;
  /** How many leaked ones chance would give him. */
  readonly expected: number;
  readonly score: number;
  /** Bound on the chance that any innocent user looks like this, at most 1. */
  readonly chance: number;
  /** Of all the users' scores, if one of them is the source: adds up to 1. */
  readonly likelihood: number;
  readonly first: number;
  readonly last: number;
  readonly addresses: readonly string[];
  readonly applications: readonly string[];
}

export interface WhoRead {
  /** Most likely first; users who read none of the leaked are left out. */
  readonly suspects: readonly Suspect[];
  readonly users: number;
  /** Different people whom anybody read. */
  readonly people: number;
  readonly leaked: number;
  /** Leaked people whom nobody read in this log. */
  readonly unread: number;
  readonly readings: number;
  /** Who read more people in one statement than its event names: any of the leaked may be among them. */
  readonly unnamed: readonly { readonly user: string; readonly people: number }[];
  readonly unreadable: readonly string[];
}

/** Who of the log's users read how much of the leaked people, given by their hashes, and how telling it is. */
export async function whoRead(
  folder: string,
  period: Period,
  leaked: ReadonlyMap<string, number>,
): Promise<WhoRead> {
  const readers = new Map<string, Reader>();
  const everybody = new Map<string, number>();
  let readings = 0;
  const { unreadable } = await scanReadings(folder, period, (reading) => {
    readings += 1;
    let reader = readers.get(reading.reader);
    if (reader === undefined) {
      reader = new Reader(reading.reader);
      readers.set(reading.reader, reader);
    }
    reader.add(reading, leaked, everybody);
  });
  const size = new Set(leaked.values()).size;
  const found = [...readers.values()].filter((reader) => reader.leaked.size > 0);
  const suspects = rank(found, { leaked: size, people: everybody.size, users: readers.size });
  const read = new Set(found.flatMap((reader) => [...reader.leaked]));
  return {
    suspects,
    users: readers.size,
    people: everybody.size,
    leaked: size,
    unread: size - read.size,
    readings,
    unnamed: unnamedOf([...readers.values()]),
    unreadable,
  };
}

function unnamedOf(readers: readonly Reader[]): WhoRead["unnamed"] {
  return readers
    .filter(({ unnamed }) => unnamed > 0)
    .map(({ name, unnamed }) => ({ user: readerName(name), people: unnamed }))
    .toSorted((a, b) => b.people - a.people || (a.user < b.user ? -1 : 1));
}

/** Every statement in which somebody read one of these people, in the order of time. */
export async function readingsOf(
  folder: string,
  period: Period,
  people: ReadonlySet<string>,
  user: string | undefined,
): Promise<readonly EventDetails[]> {
  const events: EventDetails[] = [];
  await scanReadings(folder, period, (reading) => {
    if (!reading.subjects.some((subject) => people.has(subject))) return;
    if (user === undefined || readerName(reading.reader) === user) events.push(reading.details());
  });
  return events.toSorted((a, b) => a.time - b.time);
}

/** Shorter lists are whole: events name up to 5,000 people (event.ts). */
const MAYBE_CUT = 100;

/** What one user read. */
class Reader {
  readonly name: string;
  /** Numbers of people, which take less room than their hashes. */
  readonly people = new Set<number>();
  /** Numbers of the leaked people. */
  readonly leaked = new Set<number>();
  readonly addresses = new Set<string>();
  readonly applications = new Set<string>();
  unnamed = 0;
  /** By session: whom the pieces of a result named that is not at its end yet. */
  readonly #pieces = new Map<string, number>();
  first = Number.POSITIVE_INFINITY;
  last = Number.NEGATIVE_INFINITY;

  constructor(name: string) {
    this.name = name;
  }

  add(reading: Reading, leaked: ReadonlyMap<string, number>, everybody: Map<string, number>): void {
    let isTelling = false;
    for (const subject of reading.subjects) {
      let number = everybody.get(subject);
      if (number === undefined) {
        number = everybody.size;
        everybody.set(subject, number);
      }
      this.people.add(number);
      const which = leaked.get(subject);
      if (which === undefined) continue;
      this.leaked.add(which);
      isTelling = true;
    }
    const named = reading.subjects.length;
    if (named >= MAYBE_CUT) this.#countUnnamed(reading.details(), named);
    if (!isTelling) return;
    this.first = Math.min(this.first, reading.time);
    this.last = Math.max(this.last, reading.time);
    const { address, application } = reading.details();
    this.addresses.add(address);
    this.applications.add(application);
  }

  /** A large result's own event names its first people only; its pieces name all who can be named. */
  #countUnnamed({ kind, session, people }: EventDetails, named: number): void {
    const before = this.#pieces.get(session) ?? 0;
    if (kind === "rows") {
      this.#pieces.set(session, before + named);
      return;
    }
    this.#pieces.delete(session);
    this.unnamed += Math.max(0, people - Math.max(named, before));
  }
}

interface Totals {
  readonly leaked: number;
  readonly people: number;
  readonly users: number;
}

function rank(readers: readonly Reader[], totals: Totals): readonly Suspect[] {
  const scores = readers.map((reader) =>
    score(reader.leaked.size, totals.leaked, reader.people.size / totals.people),
  );
  const highest = Math.max(0, ...scores);
  const weights = scores.map((one) => Math.exp(one - highest));
  // Who read none of the leaked has the score 0 and still his weight.
  const others = (totals.users - readers.length) * Math.exp(-highest);
  const sum = weights.reduce((total, weight) => total + weight, others);
  return readers
    .map((reader, i) => suspect(reader, scores[i] ?? 0, (weights[i] ?? 0) / sum, totals))
    .toSorted((a, b) => b.score - a.score || b.leaked - a.leaked || (a.user < b.user ? -1 : 1));
}

/** The logarithm of the likelihood ratio; also n times the Kullback-Leibler divergence of two coins. */
export function score(read: number, leaked: number, share: number): number {
  const rate = read / leaked;
  if (rate <= share) return 0;
  const missed = leaked - read;
  return read * Math.log(rate / share) + (missed === 0 ? 0 : missed * Math.log((1 - rate) / (1 - share)));
}

function suspect(reader: Reader, points: number, likelihood: number, totals: Totals): Suspect {
  return {
    user: readerName(reader.name),
    leaked: reader.leaked.size,
    people: reader.people.size,
    expected: (totals.leaked * reader.people.size) / totals.people,
    score: points,
    chance: Math.min(1, totals.users * Math.exp(-points)),
    likelihood,
    first: reader.first,
    last: reader.last,
    addresses: [...reader.addresses].toSorted(),
    applications: [...reader.applications].toSorted(),
  };
}
