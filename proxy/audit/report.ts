import { type Period, type Readings, withReadings } from "./readings.ts";

/** What became of statements, or would have become of them where the policy only observes. */
export type Outcome = "refused" | "stopped" | "cut" | "masked" | "filtered";

/** Statements of one form, of one user, with which one rule did one thing. */
export interface Decided {
  readonly outcome: Outcome;
  /** The policy only observed: it would have happened. */
  readonly observed: boolean;
  readonly rule: string | null;
  readonly sqlstate: string | null;
  readonly role: string;
  /** The person behind an application's account, where one was named. */
  readonly user: string;
  /** Normalised. */
  readonly statement: string;
  readonly times: number;
  readonly rows: number;
  readonly people: number;
  /** Unix time, milliseconds. */
  readonly first: number;
  readonly last: number;
}

/** What the users of a role read, look up and write in a day: medians, 95th percentiles and maxima over user-days. */
export interface DailyUse {
  readonly role: string;
  /**
   * Of applications that name people elsewhere: what they read by their own role where nobody was named. Their days are no
   * person's. By a role that `unnamed` gives them they are one of its users.
   */
  readonly unnamed: boolean;
  readonly users: number;
  readonly userDays: number;
  readonly amounts: Readonly<Record<Amount, Spread>>;
}

/** What a budget can limit. */
export const AMOUNTS = ["people", "rows", "bytes", "lookups", "changes"] as const;
export type Amount = (typeof AMOUNTS)[number];

export interface Spread {
  readonly p50: number;
  readonly p95: number;
  readonly maximum: number;
  /** Undefined where nothing was used: there is nothing to propose by. */
  readonly proposed: number | undefined;
  /** How many user-days would have gone over the proposal. */
  readonly over: number;
}

export interface Report {
  readonly decided: readonly Decided[];
  readonly use: readonly DailyUse[];
  readonly statements: number;
  /** Unix time of the first and the last statement; undefined without any. */
  readonly first: number | undefined;
  readonly last: number | undefined;
  readonly unreadable: readonly string[];
}

/** A budget is this much above what nearly all user-days need. */
const ROOM = 1.5;

/** What a policy did, or would have done, in a period, and what its users need in a day. Days are UTC. */
export async function reportOf(
  folder: string,
  period: Period,
  check: (readings: Readings) => Promise<unknown>,
): Promise<Report> {
  return withReadings({ folder, period, events: "decisions" }, async (readings) => {
    await check(readings);
    const [whole] = await readings.rows<{ statements: number; first: number | null; last: number | null }>(
      WHOLE,
    );
    const days = await readings.rows<UserDay>(USER_DAYS);
    return {
      decided: await readings.rows<Decided>(DECIDED),
      use: useOf(days),
      statements: whole?.statements ?? 0,
      first: whole?.first ?? undefined,
      last: whole?.last ?? undefined,
      unreadable: readings.unreadable,
    };
  });
}

const WHOLE = `SELECT coalesce(sum(times), 0)::DOUBLE AS statements, min(time) AS first, max(time) AS last
  FROM lines WHERE kind = 'statement'`;

/** With these the guard refuses what no line of the policy forbids: syntax that it does not know, statements that are too deep. */
const OF_GUARD = "'42501', '0A000', '54001'";

const DECIDED = `
  WITH outcomes AS (
    SELECT *, CASE
        WHEN decision = 'cut' AND status = '53400' THEN 'stopped'
        WHEN decision = 'cut' THEN 'cut'
        WHEN decision = 'refuse' OR (decision = 'observe' AND (rule IS NOT NULL OR status IN (${OF_GUARD}))) THEN 'refused'
        WHEN decision = 'mask' OR (decision = 'observe' AND is_masked) THEN 'masked'
        WHEN decision = 'observe' THEN 'filtered' END AS outcome
    FROM lines WHERE kind = 'statement'
  )
  SELECT outcome, decision = 'observe' AS observed, rule, status AS sqlstate, role, "user", statement,
    sum(times)::DOUBLE AS times, sum("rows")::DOUBLE AS rows, sum(people)::DOUBLE AS people, min(time) AS first, max(time) AS last
  FROM outcomes WHERE outcome IS NOT NULL
  GROUP BY outcome, decision, rule, status, role, "user", statement
  ORDER BY times DESC, last DESC, "user", statement`;

interface UserDay extends Readonly<Record<Amount, number>> {
  readonly role: string;
  readonly unnamed: boolean;
  readonly user: string;
}

/**
 * People are counted once a day, by their hashes; those whom no event names are added, as the meter adds them. A
 * result that left in pieces has its sums in its own event.
 */
const USER_DAYS = `
  WITH applications AS (SELECT DISTINCT account AS application FROM lines WHERE account IS NOT NULL),
  own_roles AS (SELECT DISTINCT "user" AS application, role FROM lines WHERE kind IN ('login', 'logout')),
  acts AS (
    SELECT *, floor(time / 86400000) AS day, account IS NULL AND "user" IN (FROM applications)
        AND (("user", role) IN (FROM own_roles) OR "user" NOT IN (SELECT application FROM own_roles)) AS nobody
    FROM lines WHERE kind IN ('statement', 'rows') AND decision <> 'refuse'
  ), named AS (
    SELECT role, "user", nobody, day, count(DISTINCT subject) AS people
    FROM (SELECT role, "user", nobody, day, unnest(subjects) AS subject FROM acts) GROUP BY ALL
  ), amounts AS (
    SELECT role, "user", nobody, day, sum("rows") AS "rows", sum(bytes) AS bytes, sum(lookups) AS lookups, sum(coalesce(written, 0)) AS changes,
      sum(CASE WHEN uncounted THEN greatest(people - len(subjects), 0) ELSE 0 END) AS people_beside
    FROM acts WHERE kind = 'statement' GROUP BY ALL
  )
  SELECT amounts.role, amounts."user", nobody AS unnamed, (coalesce(named.people, 0) + people_beside)::DOUBLE AS people, "rows"::DOUBLE AS "rows",
    bytes::DOUBLE AS bytes, lookups::DOUBLE AS lookups, changes::DOUBLE AS changes
  FROM amounts LEFT JOIN named USING (role, "user", nobody, day)
  ORDER BY amounts.role, unnamed, amounts."user", day`;

function useOf(days: readonly UserDay[]): readonly DailyUse[] {
  const groups = new Map<string, UserDay[]>();
  // Whoever makes names up makes as many days as they like: each is looked at once.
  for (const day of days) {
    const key = JSON.stringify([day.role, day.unnamed]);
    const own = groups.get(key);
    if (own === undefined) groups.set(key, [day]);
    else own.push(day);
  }
  return [...groups.values()].flatMap((own) => useOfGroup(own));
}

function useOfGroup(own: readonly UserDay[]): readonly DailyUse[] {
  const [first] = own;
  if (first === undefined) return [];
  const { role, unnamed } = first;
  const use = {
    role,
    unnamed,
    users: new Set(own.map(({ user }) => user)).size,
    userDays: own.length,
    amounts: {
      people: spreadOf(own, "people"),
      rows: spreadOf(own, "rows"),
      bytes: spreadOf(own, "bytes"),
      lookups: spreadOf(own, "lookups"),
      changes: spreadOf(own, "changes"),
    },
  };
  return [use];
}

function spreadOf(days: readonly UserDay[], amount: Amount): Spread {
  const values = days.map((day) => day[amount]).sort((a, b) => a - b);
  const at = (part: number) => values[Math.max(0, Math.ceil(part * values.length) - 1)] ?? 0;
  const [p50, p95, maximum] = [at(0.5), at(0.95), at(1)];
  const proposed = p95 === 0 ? undefined : roundedUp(ROOM * p95);
  const over = proposed === undefined ? 0 : values.filter((value) => value > proposed).length;
  return { p50, p95, maximum, proposed, over };
}

/** To two digits: a budget is no measurement. */
function roundedUp(value: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
  return Math.ceil(value / unit) * unit;
}
