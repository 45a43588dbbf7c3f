import { MEASURES_TAKEN, type MeasureTaken } from "./read-by.ts";
import { type Period, type Readings, withReadings } from "./readings.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Sessions and measures of a timeline: more than an officer reads; the search has all. */
const LONGEST_TIMELINE = 300;

/** How many people a user read within an hour or a day. */
export interface Amount {
  /** When it began, Unix time in milliseconds. */
  readonly at: number;
  readonly people: number;
}

/** A day of a user, beside the others who read under the same role that day. */
export interface DayOfUser extends Amount {
  /** Undefined where none of them read anybody. */
  readonly peersMiddle: number | undefined;
  readonly peersMost: number | undefined;
}

/** One session of a user, in sums. */
export interface SessionSums {
  readonly session: string;
  readonly first: number;
  readonly last: number;
  readonly user: string;
  readonly account: string | null;
  readonly address: string;
  readonly application: string;
  readonly database: string;
  readonly statements: number;
  readonly refused: number;
  readonly people: number;
  readonly rows: number;
  readonly written: number;
  /** Classes whose values were learned. */
  readonly classes: readonly string[];
}

export interface UserHistory {
  readonly roles: readonly string[];
  /** Without those in which nobody was read. */
  readonly hours: readonly Amount[];
  /** Every day of the period. */
  readonly days: readonly DayOfUser[];
  /** The middle of the days before today on which the user read anybody; undefined where there is none. */
  readonly usual: number | undefined;
  /** Other users of these roles who read anybody. */
  readonly peers: number;
  /** Some people could not be named: the figures are the least that it was. */
  readonly isAtLeast: boolean;
  /** The newest first, each in full for the period. */
  readonly sessions: readonly SessionSums[];
  readonly measures: readonly MeasureTaken[];
  /** The timeline leaves out older sessions. */
  readonly isCut: boolean;
  readonly unreadable: readonly string[];
}

export interface HistoryQuestion {
  readonly folder: string;
  readonly user: string;
  /** Whole days, UTC: `since` is the beginning of the first. */
  readonly period: Period;
  readonly now: number;
  readonly patience: number;
}

/** A user's last days out of the log on disk: how many people, hour by hour and beside their peers, and what they did. */
export function historyOf({ folder, user, period, now, patience }: HistoryQuestion): Promise<UserHistory> {
  return withReadings({ folder, period, events: "all", patience }, async (readings) => {
    const roles = (await readings.rows<{ role: string }>(ROLES, [user])).map(({ role }) => role);
    const hours = await readings.rows<Amount>(HOURS, [user]);
    const [own, peers] = [await readings.rows<Amount>(DAYS, [user]), await peersOf(readings, user)];
    const [known] = await readings.rows<{ uncounted: boolean | null }>(UNCOUNTED, [user]);
    const sessions = await readings.rows<SessionSums>(SESSIONS, [user]);
    // Whoever looks at this page asks the log: that is no news about the user.
    const measures = (await readings.rows<MeasureTaken>(MEASURES_TAKEN, [user]))
      .filter(({ kind }) => kind !== "question")
      .toReversed();
    const today = dayOf(now);
    return {
      roles,
      hours,
      days: daysOf(period, now, own, peers.days),
      usual: middleOf(own.filter(({ at }) => at < today).map(({ people }) => people)),
      peers: peers.users,
      isAtLeast: known?.uncounted === true,
      sessions: sessions.slice(0, LONGEST_TIMELINE),
      measures: measures.slice(0, LONGEST_TIMELINE),
      isCut: sessions.length > LONGEST_TIMELINE || measures.length > LONGEST_TIMELINE,
      unreadable: readings.unreadable,
    };
  });
}

const ROLES = `SELECT DISTINCT role FROM readings WHERE "user" = $1 AND role IS NOT NULL ORDER BY role`;

const perTime = (length: number) => `
  SELECT start::DOUBLE AS "at", count(DISTINCT subject)::DOUBLE AS people FROM (
    SELECT floor(time / ${length}) * ${length} AS start, unnest(subjects) AS subject FROM readings WHERE "user" = $1
  ) GROUP BY start ORDER BY start`;
const HOURS = perTime(HOUR);
const DAYS = perTime(DAY);

const UNCOUNTED = `SELECT bool_or(uncounted) AS uncounted FROM readings WHERE "user" = $1`;

/** Of each day the users of the same role beside this one, who read anybody then. */
const PEERS = `
  WITH seen AS (
    SELECT "user", floor(time / ${DAY}) * ${DAY} AS start, unnest(subjects) AS subject FROM readings
    WHERE "user" <> $1 AND role IN (SELECT DISTINCT role FROM readings WHERE "user" = $1)
  ), each AS (SELECT "user", start, count(DISTINCT subject) AS people FROM seen GROUP BY "user", start)
  SELECT start::DOUBLE AS "at", quantile_cont(people, 0.5)::DOUBLE AS middle, max(people)::DOUBLE AS most,
    (SELECT count(DISTINCT "user") FROM each)::DOUBLE AS users
  FROM each GROUP BY start ORDER BY start`;

interface PeersDay {
  readonly at: number;
  readonly middle: number;
  readonly most: number;
}

async function peersOf(readings: Readings, user: string) {
  const rows = await readings.rows<PeersDay & { users: number }>(PEERS, [user]);
  return { users: rows[0]?.users ?? 0, days: new Map(rows.map((row) => [row.at, row])) };
}

/** A result that left in pieces names people in the pieces; its own event has the sums of the rest. */
const SESSIONS = `
  SELECT session, min(time) AS first, max(time) AS last, "user", any_value(account) AS account, any_value(address) AS address,
    any_value(application) AS application, any_value(database) AS database,
    coalesce(sum(times) FILTER (kind = 'statement'), 0)::DOUBLE AS statements,
    (count(*) FILTER (kind = 'statement' AND decision IN ('refuse', 'cut')))::DOUBLE AS refused,
    len(list_distinct(flatten(list(coalesce(subjects, [])))))::DOUBLE AS people,
    coalesce(sum("rows") FILTER (kind = 'statement'), 0)::DOUBLE AS "rows", coalesce(sum(written), 0)::DOUBLE AS written,
    list_sort(list_distinct(flatten(list(coalesce(classes, []))))) AS classes
  FROM lines WHERE ("user" = $1 OR account = $1) AND kind IN ('statement', 'rows') AND session <> ''
  GROUP BY session, "user" ORDER BY last DESC, session LIMIT ${LONGEST_TIMELINE + 1}`;

function daysOf(
  { since }: Period,
  now: number,
  own: readonly Amount[],
  peers: ReadonlyMap<number, PeersDay>,
): readonly DayOfUser[] {
  const people = new Map(own.map((one) => [one.at, one.people]));
  const days: DayOfUser[] = [];
  for (let at = dayOf(since); at <= now; at += DAY) {
    const others = peers.get(at);
    days.push({
      at,
      people: people.get(at) ?? 0,
      peersMiddle: others?.middle,
      peersMost: others?.most,
    });
  }
  return days;
}

function dayOf(time: number): number {
  return Math.floor(time / DAY) * DAY;
}

/** The lower of the two in the middle, where there are two. */
function middleOf(figures: readonly number[]): number | undefined {
  return figures.toSorted((a, b) => a - b)[Math.ceil(figures.length / 2) - 1];
}
