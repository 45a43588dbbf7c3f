import { type Period, withReadings } from "./readings.ts";

/** What an account has run. */
export interface Learned {
  readonly runs: number;
  readonly first: number;
  readonly last: number;
  readonly places: readonly { readonly address: string; readonly program: string }[];
  /** The most frequent first. */
  readonly shapes: readonly LearnedShape[];
}

export interface LearnedShape {
  readonly statement: string;
  readonly people: number;
  readonly runs: number;
  /** What its names meant. */
  readonly tables: readonly string[];
}

/** Statements that were refused, or failed, are no habit. Whoever is named for them does not matter. */
const RUNS = `
  SELECT statement, address, application, times, people, time, relations FROM lines
  WHERE kind = 'statement' AND coalesce(account, "user") = $1 AND decision NOT IN ('refuse', 'cut') AND status IS NULL`;

/** Undefined: the log has no statement of this account in this time. */
export async function learnedOf(
  folder: string,
  period: Period,
  account: string,
): Promise<Learned | undefined> {
  return withReadings({ folder, period, events: "decisions" }, async ({ rows }) => {
    const [whole] = await rows<{ runs: number; first: number | null; last: number | null }>(
      `SELECT coalesce(sum(times), 0)::DOUBLE AS runs, min(time) AS first, max(time) AS last FROM (${RUNS})`,
      [account],
    );
    if (whole === undefined || whole.first === null || whole.last === null) return undefined;
    return {
      ...{ runs: whole.runs, first: whole.first, last: whole.last },
      places: await rows(
        `SELECT DISTINCT address, application AS program FROM (${RUNS}) ORDER BY address, program`,
        [account],
      ),
      shapes: await rows(
        `SELECT statement, max(ceil(people / times))::DOUBLE AS people, sum(times)::DOUBLE AS runs,
           list_sort(list_distinct(flatten(list(coalesce(relations, []))))) AS tables FROM (${RUNS})
         WHERE statement <> '' GROUP BY statement ORDER BY runs DESC, statement`,
        [account],
      ),
    };
  });
}
