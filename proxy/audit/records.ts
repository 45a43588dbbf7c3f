import type { AuditKeys } from "./keys.ts";

/** A segment as the footers, retention and verification speak of it. */
export interface ClosedSegment {
  readonly writer: string;
  readonly segment: number;
  readonly first: number;
  readonly last: number;
  /** The hash of its last line. */
  readonly hash: string;
}

/** What the log writes about itself; these lines stand in the same chain as the events. */
export type LogRecord =
  | {
      readonly kind: "segment opened";
      readonly segment: number;
      /** The key that will sign it. */
      readonly signedBy: string;
      /** The key under which its people are hashed (`AuditKeys.peopleId`); older segments do not say it. */
      readonly peopleKey?: string;
    }
  | {
      readonly kind: "segment closed";
      readonly segment: number;
      readonly first: number;
      /** How many lines stand before this one. */
      readonly count: number;
      readonly signedBy: string;
      readonly signature: string;
    }
  | {
      /** A process died in a write: half a line was cut off. */
      readonly kind: "log repaired";
      readonly segment: number;
      readonly bytes: number;
    }
  | {
      /** The end of the chain could not be read as what was written; it stays as it is, for verification. */
      readonly kind: "log damaged";
      readonly segment: number;
    }
  | { readonly kind: "events lost"; readonly events: number }
  | {
      readonly kind: "segments dropped";
      /** Days before this one (YYYYMMDD) were to go. */
      readonly before: string;
      readonly segments: readonly ClosedSegment[];
      readonly signedBy: string;
      readonly signature: string;
    };

type Footer = Extract<LogRecord, { kind: "segment closed" }>;
type Dropped = Extract<LogRecord, { kind: "segments dropped" }>;

/** What a footer's signature covers: also the hash of the line before, and with it all the segment. */
export function footerText(
  writer: string,
  footer: Pick<Footer, "segment" | "first" | "count">,
  previous: string,
): string {
  return ["sluice audit segment 1", writer, footer.segment, footer.first, footer.count, previous].join("\n");
}

export function droppedText(record: Pick<Dropped, "before" | "segments">): string {
  const segments = record.segments.map(({ writer, segment, first, last, hash }) =>
    [writer, segment, first, last, hash].join(" "),
  );
  return ["sluice audit dropped 1", record.before, ...segments].join("\n");
}

/** The line that closes a segment. */
export function footer(
  keys: AuditKeys,
  writer: string,
  segment: { readonly segment: number; readonly first: number; readonly count: number },
  previous: string,
): LogRecord {
  const signature = keys.sign(footerText(writer, segment, previous));
  return { kind: "segment closed", ...segment, signedBy: keys.id, signature };
}

export function dropped(keys: AuditKeys, before: string, segments: readonly ClosedSegment[]): LogRecord {
  const signature = keys.sign(droppedText({ before, segments }));
  return { kind: "segments dropped", before, segments, signedBy: keys.id, signature };
}

/** A record out of a line of the log; undefined when the line is an event. */
export function recordOf(line: Buffer): LogRecord | undefined {
  // Events never begin so: theirs has an actor there.
  if (!RECORD_START.test(line.toString("latin1", 0, 48))) return undefined;
  try {
    return (JSON.parse(line.toString("utf8")) as { unmapped: LogRecord }).unmapped;
  } catch {
    // Whoever forges lines need not write JSON; the chain and its signatures tell of him.
    return undefined;
  }
}

const RECORD_START = /^\{"time":\d+,"unmapped":\{"kind":"/;

/** A record's fields of a line, before metadata and chain. */
export function recordFields(record: LogRecord, time: number): Readonly<Record<string, unknown>> {
  return {
    time,
    unmapped: record,
    class_uid: 6005,
    category_uid: 6,
    activity_id: 99,
    activity_name: record.kind,
    type_uid: 600599,
    severity_id: record.kind === "log damaged" || record.kind === "events lost" ? 4 : 1,
  };
}
