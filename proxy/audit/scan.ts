import { listSegments, readSegments, type SegmentFile } from "./segments.ts";

/** A stretch of time, Unix milliseconds; `until` is not in it. */
export interface Period {
  readonly since: number;
  readonly until: number;
}

/** One statement that read people. Valid until the next one. */
export interface Reading {
  readonly time: number;
  /** The reader's name as it stands in the log, a JSON string's inside; `readerName` decodes it. */
  readonly reader: string;
  /** The people's hashes. */
  readonly subjects: readonly string[];
  /** The whole event. */
  details(): EventDetails;
}

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

const READER_START = Buffer.from(',"actor":{"user":{"name":"');
const SUBJECTS_START = Buffer.from('"unmapped":{"subjects":["');
const TIME_START = '{"time":'.length;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const CLOSING_BRACKET = 0x5d;
const COMMA = 0x2c;
const LINE_FEED = 0x0a;
const HASH_LENGTH = 22;
const DAY = 86_400_000;

/**
 * Gives each statement of the period that read people, out of all segments. It looks only at the fields that
 * stand first in a line (ocsf.ts sees to that) and parses a line only when `details` is called: a year of a
 * support team is a gigabyte.
 */
export async function scanReadings(
  folder: string,
  period: Period,
  found: (reading: Reading) => void,
): Promise<{ readonly unreadable: readonly string[] }> {
  const files = (await listSegments(folder)).filter((file) => mayHold(file, period));
  const unreadable: string[] = [];
  for await (const { file, content } of readSegments(files)) {
    if (content instanceof Error) unreadable.push(file.name);
    else scan(content, period, found);
  }
  return { unreadable };
}

/** A reader's name as people write it. */
export function readerName(reader: string): string {
  return JSON.parse(`"${Buffer.from(reader, "latin1").toString("utf8")}"`) as string;
}

/** A segment ends with its day, but for the statement that was running: a day is added on both sides. */
function mayHold(file: SegmentFile, { since, until }: Period): boolean {
  const day = Date.UTC(
    Number(file.day.slice(0, 4)),
    Number(file.day.slice(4, 6)) - 1,
    Number(file.day.slice(6)),
  );
  return day + 2 * DAY > since && day - DAY < until;
}

function scan(content: Buffer, { since, until }: Period, found: (reading: Reading) => void): void {
  // Lines without people are skipped by looking for those that have some.
  for (let mark = content.indexOf(SUBJECTS_START); mark !== -1; ) {
    const start = content.lastIndexOf(LINE_FEED, mark) + 1;
    const afterTime = content.indexOf(COMMA, start);
    const time = Number(content.toString("latin1", start + TIME_START, afterTime));
    const subjectsAt = mark + SUBJECTS_START.length;
    const end = content.indexOf(CLOSING_BRACKET, subjectsAt);
    if (end === -1) return;
    if (time >= since && time < until) {
      const reader = readerAt(content, afterTime, mark);
      if (reader !== undefined) {
        const subjects = subjectsIn(content, subjectsAt, end);
        found({ time, reader, subjects, details: () => detailsAt(content, start) });
      }
    }
    mark = content.indexOf(SUBJECTS_START, end);
  }
}

function readerAt(content: Buffer, at: number, before: number): string | undefined {
  if (content.compare(READER_START, 0, READER_START.length, at, at + READER_START.length) !== 0)
    return undefined;
  const from = at + READER_START.length;
  let end = content.indexOf(QUOTE, from);
  while (end !== -1 && end < before && isEscaped(content, end)) end = content.indexOf(QUOTE, end + 1);
  return end === -1 || end >= before ? undefined : content.toString("latin1", from, end);
}

function isEscaped(content: Buffer, quote: number): boolean {
  let at = quote - 1;
  while (content[at] === BACKSLASH) at -= 1;
  return (quote - 1 - at) % 2 === 1;
}

function subjectsIn(content: Buffer, from: number, end: number): readonly string[] {
  const subjects: string[] = [];
  // Each is a hash of a fixed length, a quote, a comma, a quote.
  for (let at = from; at + HASH_LENGTH < end; at += HASH_LENGTH + 3) {
    subjects.push(content.toString("latin1", at, at + HASH_LENGTH));
  }
  return subjects;
}

interface Ocsf {
  readonly time: number;
  readonly actor: {
    readonly user: { readonly name: string; readonly groups: readonly { readonly name: string }[] };
    readonly session: { readonly uid: string };
    readonly app_name: string;
  };
  readonly unmapped: {
    readonly kind: string;
    readonly decision: string;
    readonly rows: number;
    readonly people: number;
  };
  readonly src_endpoint: { readonly ip?: string; readonly name?: string };
  readonly database: { readonly name: string };
  readonly query_info: { readonly query_string: string };
  readonly metadata: { readonly log_name: string; readonly sequence: number };
}

function detailsAt(content: Buffer, start: number): EventDetails {
  const end = content.indexOf(LINE_FEED, start);
  const text = content.toString("utf8", start, end === -1 ? content.length : end);
  const event = JSON.parse(text) as Ocsf;
  return {
    kind: event.unmapped.kind,
    time: event.time,
    user: event.actor.user.name,
    role: event.actor.user.groups[0]?.name ?? "",
    session: event.actor.session.uid,
    address: event.src_endpoint.ip ?? event.src_endpoint.name ?? "",
    application: event.actor.app_name,
    database: event.database.name,
    statement: event.query_info.query_string,
    decision: event.unmapped.decision,
    rows: event.unmapped.rows,
    people: event.unmapped.people,
    writer: event.metadata.log_name,
    sequence: event.metadata.sequence,
  };
}
