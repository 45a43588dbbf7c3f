import { type Period, withReadings } from "./readings.ts";

/** What is shown of an event. */
export interface EventDetails {
  /** "rows": a piece of a result that was still under way; its statement has the sums. */
  readonly kind: string;
  readonly time: number;
  readonly user: string;
  readonly role: string;
  readonly session: string;
  readonly address: string;
  readonly application: string;
  readonly database: string;
  readonly statement: string;
  readonly decision: string;
  readonly rows: number;
  readonly people: number;
  readonly writer: string;
  readonly sequence: number;
}

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
  return withReadings({ folder, period, asked: leaked, events: "all" }, async (readings) => {
    const [totals] = await readings.rows<{ users: number; people: number; readings: number }>(TOTALS);
    const { users = 0, people = 0, readings: count = 0 } = totals ?? {};
    const found = await readings.rows<Reader>(READERS);
    const [read] = await readings.rows<{ people: number }>(FOUND);
    const size = new Set(leaked.values()).size;
    return {
      suspects: rank(found, { leaked: size, people, users }),
      users,
      people,
      leaked: size,
      unread: size - (read?.people ?? 0),
      readings: count,
      unnamed: await readings.rows(UNNAMED),
      unreadable: readings.unreadable,
    };
  });
}

/** Every statement in which somebody read one of these people, in the order of time. */
export async function readingsOf(
  folder: string,
  period: Period,
  people: ReadonlySet<string>,
  user: string | undefined,
): Promise<readonly EventDetails[]> {
  const asked = new Map([...people].map((subject, i) => [subject, i]));
  return withReadings({ folder, period, asked, events: "of asked people" }, ({ rows }) =>
    rows(EVENTS, [user ?? null]),
  );
}

/** What one user read. */
interface Reader {
  readonly user: string;
  readonly leaked: number;
  readonly people: number;
  readonly first: number;
  readonly last: number;
  readonly addresses: readonly string[];
  readonly applications: readonly string[];
}

const TOTALS = `
  SELECT count(DISTINCT "user")::DOUBLE AS users, count(*)::DOUBLE AS readings,
    (SELECT count(*)::DOUBLE FROM (SELECT DISTINCT unnest(subjects) FROM readings)) AS people
  FROM readings WHERE len(subjects) > 0`;

const READERS = `
  WITH reads AS (SELECT "user", time, address, application, unnest(subjects) AS subject FROM readings),
  amounts AS (
    SELECT "user", count(*)::DOUBLE AS people FROM (SELECT DISTINCT "user", subject FROM reads) GROUP BY "user"
  )
  SELECT "user", count(DISTINCT number)::DOUBLE AS leaked, any_value(amounts.people) AS people,
    min(time) AS first, max(time) AS last, list_sort(list(DISTINCT address)) AS addresses,
    list_sort(list(DISTINCT application)) AS applications
  FROM reads JOIN asked USING (subject) JOIN amounts USING ("user") GROUP BY "user"`;

const FOUND = `
  SELECT count(DISTINCT number)::DOUBLE AS people
  FROM (SELECT DISTINCT unnest(subjects) AS subject FROM readings) JOIN asked USING (subject)`;

/** Shorter lists are whole: events name up to 5,000 people (event.ts). */
const MAYBE_CUT = 100;

/** A large result's own event names its first people only; its pieces before name all who can be named. */
const UNNAMED = `
  WITH large AS (
    SELECT *, count(*) FILTER (kind = 'statement') OVER (
      PARTITION BY writer, session, "user" ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS result
    FROM readings WHERE session IN (SELECT session FROM readings WHERE people >= ${MAYBE_CUT})
  ), results AS (
    SELECT "user", max(people) FILTER (kind = 'statement') AS people,
      len(list_distinct(flatten(list(subjects)))) AS named
    FROM large GROUP BY writer, session, "user", result
  )
  SELECT "user", sum(people - named)::DOUBLE AS people FROM results
  WHERE named >= ${MAYBE_CUT} AND people > named GROUP BY "user" ORDER BY people DESC, "user"`;

const EVENTS = `
  SELECT * EXCLUDE (subjects, file) FROM readings
  WHERE $1::VARCHAR IS NULL OR "user" = $1 ORDER BY time, writer, sequence`;

interface Totals {
  readonly leaked: number;
  readonly people: number;
  readonly users: number;
}

function rank(readers: readonly Reader[], totals: Totals): readonly Suspect[] {
  const scores = readers.map((reader) => score(reader.leaked, totals.leaked, reader.people / totals.people));
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
    ...reader,
    expected: (totals.leaked * reader.people) / totals.people,
    score: points,
    chance: Math.min(1, totals.users * Math.exp(-points)),
    likelihood,
  };
}
