import type { DuckDBConnection, DuckDBValue } from "@duckdb/node-api";
import { openEngine, TooSlow, within } from "./engine.ts";
import { MEASURE_KINDS } from "./event.ts";
import { textList } from "./log-lines.ts";
import { NoLog } from "./readings.ts";
import { compressedForm, listSegments, mayHold, type Period, type SegmentFile } from "./segments.ts";

/** What kinds of events are looked for; "all" leaves out only what the log writes about itself. */
export const SEARCHED = [
  "all",
  "statements",
  "refusals",
  "alerts",
  "orders",
  "sessions",
  "policies",
] as const;
export type Searched = (typeof SEARCHED)[number];

/** A place in the order of the log, the newest first. */
export interface Position {
  readonly time: number;
  readonly writer: string;
  readonly sequence: number;
}

/** What is looked for: an event has to match all that is given. */
export interface SearchQuestion {
  readonly folder: string;
  readonly period: Period;
  readonly kinds: Searched;
  /** Whoever read, or the account that read for them, or whom an order was about. */
  readonly user?: string;
  readonly session?: string;
  /** A part of the statement's text, in any case; literals are not in the log. */
  readonly statement?: string;
  /** The reference that the client got with the error. */
  readonly reference?: string;
  /** Hashes of people: of one person each key and each way to write the id has another. */
  readonly people?: readonly string[];
  /** Only what comes after this in the answer's order. */
  readonly after?: Position;
  readonly limit: number;
  /** Milliseconds that the answer may take. */
  readonly patience: number;
}

/** An event of the log, as operators see it: nobody whom it read is named. */
export interface FoundEvent extends Position {
  readonly kind: string;
  /** Who read, ordered or asked. */
  readonly user: string;
  readonly account: string | null;
  readonly role: string;
  readonly session: string;
  readonly address: string;
  readonly application: string;
  readonly database: string;
  readonly statement: string;
  readonly decision: string | null;
  readonly sqlstate: string | null;
  /** The policy's line, or the rule of an alert. */
  readonly rule: string | null;
  readonly masked: readonly string[];
  /** Classes whose values were learned; null where the line does not say it. */
  readonly classes: readonly string[] | null;
  readonly rows: number | null;
  readonly people: number | null;
  readonly times: number;
  readonly reference: string | null;
  /** Whom an order or a question was about. */
  readonly about: string | null;
  /** An alert's words, an order's reason, a question's kind. */
  readonly told: string;
}

export interface Found {
  /** The newest first. */
  readonly events: readonly FoundEvent[];
  /** There are more behind the last one. */
  readonly more: boolean;
  /** Segments that cannot be read: what they hold is not in the answer. */
  readonly unreadable: readonly string[];
}

const FIELDS = `{
  time: 'DOUBLE',
  actor: 'STRUCT("user" STRUCT("name" VARCHAR, account STRUCT("name" VARCHAR), groups STRUCT("name" VARCHAR)[]), session STRUCT(uid VARCHAR), app_name VARCHAR)',
  src_endpoint: 'STRUCT(ip VARCHAR, "name" VARCHAR)',
  database: 'STRUCT("name" VARCHAR)',
  query_info: 'STRUCT(query_string VARCHAR)',
  "count": 'DOUBLE',
  status_code: 'VARCHAR',
  message: 'VARCHAR',
  firewall_rule: 'STRUCT("name" VARCHAR)',
  policy: 'STRUCT(uid VARCHAR)',
  unmapped: 'STRUCT(kind VARCHAR, decision VARCHAR, "rows" DOUBLE, people DOUBLE, subjects VARCHAR[], masked VARCHAR[],
    shown VARCHAR[], shown_where VARCHAR[], found VARCHAR[], reference VARCHAR, "user" VARCHAR, why VARCHAR, question VARCHAR,
    session VARCHAR, "case" VARCHAR, change VARCHAR)',
  metadata: 'STRUCT(log_name VARCHAR, sequence DOUBLE)'
}`;

const LEARNED =
  "list_distinct(coalesce(unmapped.shown, []) || coalesce(unmapped.shown_where, []) || coalesce(unmapped.found, []))";

const COLUMNS = `time, metadata.log_name AS writer, metadata.sequence AS sequence, unmapped.kind AS kind,
  coalesce(actor."user"."name", '') AS "user", actor."user".account."name" AS account,
  coalesce(actor."user".groups[1]."name", '') AS role,
  coalesce(nullif(actor.session.uid, ''), unmapped.session, '') AS session,
  coalesce(src_endpoint.ip, src_endpoint."name", '') AS address, coalesce(actor.app_name, '') AS application,
  coalesce(database."name", '') AS database, coalesce(query_info.query_string, '') AS statement,
  unmapped.decision AS decision, status_code AS sqlstate, firewall_rule."name" AS rule,
  coalesce(unmapped.masked, []) AS masked, CASE WHEN unmapped.shown IS NULL THEN NULL ELSE ${LEARNED} END AS classes,
  unmapped."rows" AS "rows", unmapped.people AS people, coalesce("count", 1) AS times, unmapped.reference AS reference,
  unmapped."user" AS about,
  CASE WHEN unmapped.kind IN ('policy loaded', 'policy rejected', 'catalog read') THEN coalesce(policy.uid, '')
    ELSE concat_ws(': ', message, unmapped.question, unmapped.change, nullif(unmapped.why, '')) END AS told`;

const SESSION_KINDS = ["login", "logout", "login refused", "session killed"];
const ORDER_KINDS = [
  ...MEASURE_KINDS,
  "session killed",
  "reload",
  "hold placed",
  "hold lifted",
  "people forgotten",
  "case",
];
const POLICY_KINDS = ["policy loaded", "policy rejected", "catalog read"];
/** Everything that is not about the log itself: what is not listed is not shown. */
const ALL_KINDS = ["statement", "alert", "question", ...SESSION_KINDS, ...ORDER_KINDS, ...POLICY_KINDS];

const isOneOf = (kinds: readonly string[]) => `list_contains(${textList(kinds)}, unmapped.kind)`;

/** A piece of a result stands in for its statement only where it may be what names a person. */
const KINDS: Readonly<Record<Searched, (pieces: boolean) => string>> = {
  all: (pieces) => isOneOf(pieces ? [...ALL_KINDS, "rows"] : ALL_KINDS),
  statements: (pieces) => isOneOf(pieces ? ["statement", "rows"] : ["statement"]),
  refusals: () =>
    `(unmapped.kind = 'login refused' OR (unmapped.kind = 'statement' AND unmapped.decision IN ('refuse', 'cut')))`,
  alerts: () => isOneOf(["alert"]),
  orders: () => isOneOf(ORDER_KINDS),
  sessions: () => isOneOf(SESSION_KINDS),
  policies: () => isOneOf(POLICY_KINDS),
};

const DAY = 86_400_000;

/**
 * Searches the log on disk, the newest first. It reads a day's segments at a time and stops when older ones cannot change the
 * answer. Throws `TooSlow` when the patience has ended, and `NoLog`.
 */
export async function searchLog(question: SearchQuestion): Promise<Found> {
  const { folder, period, after, limit, patience } = question;
  const segments = await listSegments(folder);
  if (segments.length === 0) throw new NoLog(`"${folder}" holds no audit log`);
  const until = after === undefined ? period.until : Math.min(period.until, after.time + 1);
  const files = segments.filter((file) => mayHold(file, { since: period.since, until }));
  const days = byDay(files);
  const connection = await openEngine("console");
  const limitAt = performance.now() + patience;
  const unreadable: string[] = [];
  let found: readonly FoundEvent[] = [];
  try {
    for (const [i, [, ofDay]] of days.entries()) {
      const left = limitAt - performance.now();
      if (left <= 0) throw new TooSlow("the log took too long to answer");
      const more = await within(connection, left, () => eventsIn(connection, ofDay, question, unreadable));
      found = [...found, ...more].toSorted(newestFirst).slice(0, limit + 1);
      const next = days[i + 1]?.[0];
      if (next !== undefined && (found[limit]?.time ?? -1) >= latestOf(next)) break;
    }
  } finally {
    connection.closeSync();
  }
  return { events: found.slice(0, limit), more: found.length > limit, unreadable };
}

/** The newest day first. */
function byDay(files: readonly SegmentFile[]): readonly (readonly [string, readonly SegmentFile[]])[] {
  const days = new Map<string, SegmentFile[]>();
  for (const file of files) days.set(file.day, [...(days.get(file.day) ?? []), file]);
  return [...days].toSorted(([a], [b]) => (a < b ? 1 : -1));
}

/** No line of a segment of this day is later: `mayHold` adds the same day. */
function latestOf(day: string): number {
  return Date.UTC(Number(day.slice(0, 4)), Number(day.slice(4, 6)) - 1, Number(day.slice(6))) + 2 * DAY;
}

function newestFirst(a: Position, b: Position): number {
  return b.time - a.time || (a.writer < b.writer ? 1 : a.writer > b.writer ? -1 : b.sequence - a.sequence);
}

/** A file that cannot be read must not hide what the others hold. */
async function eventsIn(
  connection: DuckDBConnection,
  files: readonly SegmentFile[],
  question: SearchQuestion,
  unreadable: string[],
): Promise<readonly FoundEvent[]> {
  const ask = (some: readonly SegmentFile[]) => query(connection, some, question);
  try {
    return await ask(files);
  } catch (error) {
    if (error instanceof Error && /interrupt/i.test(error.message)) throw error;
    const found: FoundEvent[] = [];
    for (const file of files) {
      // The proxy that writes the log may have compressed it since it was listed.
      const forms = file.compressed ? [file] : [file, compressedForm(file)];
      let events: readonly FoundEvent[] | undefined;
      for (const form of forms) events ??= await ask([form]).catch(() => undefined);
      if (events === undefined) unreadable.push(file.name);
      else found.push(...events);
    }
    return found;
  }
}

async function query(
  connection: DuckDBConnection,
  files: readonly SegmentFile[],
  question: SearchQuestion,
): Promise<readonly FoundEvent[]> {
  const names = textList(files.map(({ path }) => path));
  const { text, values } = conditionOf(question);
  const reader = await connection.runAndReadAll(
    `SELECT ${COLUMNS}
     FROM read_json(${names}, format = 'newline_delimited', columns = ${FIELDS}, ignore_errors = true)
     WHERE ${text} ORDER BY time DESC, writer DESC, sequence DESC LIMIT ${question.limit + 1}`,
    [...values],
  );
  return reader.getRowObjectsJS() as unknown as readonly FoundEvent[];
}

function conditionOf(question: SearchQuestion): {
  readonly text: string;
  readonly values: readonly DuckDBValue[];
} {
  const { period, kinds, user, session, statement, reference, people, after } = question;
  const values: DuckDBValue[] = [];
  const value = (one: DuckDBValue) => {
    values.push(one);
    return `$${values.length}`;
  };
  const all = [KINDS[kinds](people !== undefined), `time >= ${value(period.since)}`];
  if (Number.isFinite(period.until)) all.push(`time < ${value(period.until)}`);
  if (user !== undefined) {
    const name = value(user);
    all.push(
      `(actor."user"."name" = ${name} OR actor."user".account."name" = ${name} OR unmapped."user" = ${name})`,
    );
  }
  if (session !== undefined) {
    const id = value(session);
    all.push(`(actor.session.uid = ${id} OR unmapped.session = ${id})`);
  }
  if (statement !== undefined)
    all.push(`contains(lower(query_info.query_string), lower(${value(statement)}))`);
  if (reference !== undefined) all.push(`unmapped.reference = ${value(reference)}`);
  // Hashes have no quotes in them.
  if (people !== undefined) all.push(`list_has_any(unmapped.subjects, ${textList(people)})`);
  if (after !== undefined) {
    const [time, writer, sequence] = [value(after.time), value(after.writer), value(after.sequence)];
    all.push(`(time, metadata.log_name, metadata.sequence) < (${time}, ${writer}, ${sequence})`);
  }
  return { text: all.map((one) => `coalesce(${one}, false)`).join(" AND "), values };
}
