import { type Period, withReadings } from "./readings.ts";

/** What is shown of an event. */
export interface EventDetails {
  /** "rows": a piece of a result that was still under way; its statement has the sums. */
  readonly kind: string;
  readonly time: number;
  readonly user: string;
  /** The user of the application that read for them; null for users who read by themselves. */
  readonly account: string | null;
  readonly role: string;
  readonly session: string;
  readonly address: string;
  readonly application: string;
  readonly database: string;
  readonly statement: string;
  readonly decision: string;
  /** Classes whose values were learned; null in lines of older versions, which do not say it. */
  readonly classes: readonly string[] | null;
  readonly rows: number;
  readonly people: number;
  readonly writer: string;
  readonly sequence: number;
}

/** Every statement in which somebody, or an account for somebody, read one of these people, in the order of time. */
export async function readingsOf(
  folder: string,
  period: Period,
  people: ReadonlySet<string>,
  user: string | undefined,
  patience?: number,
): Promise<readonly EventDetails[]> {
  const asked = [...people].map((subject, number) => ({ subject, number }));
  return withReadings(
    { folder, period, events: asked, ...(patience !== undefined && { patience }) },
    ({ rows }) => rows(EVENTS, [user ?? null]),
  );
}

const EVENTS = `
  SELECT time, "user", account, role, session, address, application, database, statement, kind, decision, classes, "rows",
    people, writer, sequence
  FROM readings WHERE $1::VARCHAR IS NULL OR "user" = $1 OR account = $1 ORDER BY time, writer, sequence`;
