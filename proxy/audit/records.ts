import { type Anchor, anchorText } from "./anchor.ts";
import type { AuditKeys, SigningKey } from "./audit-keys.ts";
import type { Head } from "./chain.ts";
import type { Tree } from "./merkle.ts";
import type { Turn } from "./moving-keys.ts";

/** A segment as the footers, retention and verification speak of it. */
export interface ClosedSegment {
  readonly writer: string;
  readonly segment: number;
  readonly first: number;
  readonly last: number;
  /** The hash of its last line. */
  readonly hash: string;
  /** The public key that its footer named; older ones named none. */
  readonly nextKey?: string;
}

/** What the log writes about itself; these lines stand in the same chain as the events. */
export type LogRecord =
  | {
      readonly kind: "segment opened";
      readonly segment: number;
      /** The key that signed this; of older segments the one that will sign the footer. */
      readonly signedBy: string;
      /** The key under which its people are hashed (`AuditKeys.peopleId`); older segments do not say it. */
      readonly peopleKey?: string;
      /** The public key that signs the next record of these three kinds; older segments name none. */
      readonly nextKey?: string;
      readonly signature?: string;
    }
  | {
      /** All lines of the segment before it are signed, and the key that did it is no more. */
      readonly kind: "checkpoint";
      readonly segment: number;
      readonly nextKey: string;
      readonly signedBy: string;
      readonly signature: string;
      /** Where the chain stood before this line, as the fleet's key signs it. */
      readonly anchor: Anchor;
    }
  | {
      readonly kind: "segment closed";
      readonly segment: number;
      readonly first: number;
      /** How many lines stand before this one, and the root of their tree; older segments have none. */
      readonly count: number;
      readonly root?: string;
      readonly nextKey?: string;
      readonly signedBy: string;
      readonly signature: string;
      readonly anchor?: Anchor;
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
  | {
      /** Another writer's chain could not go on: the keys that sign it were missing, or had moved on past its end. */
      readonly kind: "chain left";
      readonly writer: string;
      readonly segment: number;
      readonly cut: boolean;
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

export type Opening = Extract<LogRecord, { kind: "segment opened" }>;
export type Checkpoint = Extract<LogRecord, { kind: "checkpoint" }>;
export type Footer = Extract<LogRecord, { kind: "segment closed" }>;
type Dropped = Extract<LogRecord, { kind: "segments dropped" }>;

type Signed<R extends { readonly signedBy: string; readonly signature?: string }> = Omit<
  R,
  "signedBy" | "signature" | "kind"
>;

/** What an opening's signature covers: its place in the chain, and the key that comes next. */
export function openingText(
  writer: string,
  { segment, peopleKey = "", nextKey = "" }: Signed<Opening>,
  before: Head,
): string {
  const place = [writer, segment, before.sequence, before.hash];
  return ["sluice audit opening 1", ...place, peopleKey, nextKey].join("\n");
}

/** What a checkpoint's signature covers: the tree has the hashes of all lines so far, and each line that of the one before. */
export function checkpointText({ nextKey, anchor }: Pick<Checkpoint, "nextKey" | "anchor">): string {
  return ["sluice audit checkpoint 1", anchorText(anchor), nextKey].join("\n");
}

/** What a footer's signature covers. In older ones the hash of the line before stands for all the segment. */
export function footerText(
  writer: string,
  { segment, first, count, root, nextKey = "" }: Omit<Signed<Footer>, "anchor">,
  previous: string,
): string {
  return root === undefined
    ? ["sluice audit segment 1", writer, segment, first, count, previous].join("\n")
    : ["sluice audit segment 2", writer, segment, first, count, previous, root, nextKey].join("\n");
}

export function droppedText(record: Pick<Dropped, "before" | "segments">): string {
  const segments = record.segments.map(({ writer, segment, first, last, hash, nextKey }) =>
    [writer, segment, first, last, hash, ...(nextKey === undefined ? [] : [nextKey])].join(" "),
  );
  return ["sluice audit dropped 1", record.before, ...segments].join("\n");
}

/** The line that opens a segment, after `before`. */
export function opening({ signer, nextKey }: Turn, writer: string, fields: Signed<Opening>, before: Head) {
  const made = { kind: "segment opened", ...fields, nextKey } as const;
  return signed(made, signer, openingText(writer, made, before));
}

export function checkpoint({ signer, nextKey }: Turn, segment: number, anchor: Anchor) {
  const made = { kind: "checkpoint", segment, nextKey, anchor } as const;
  return signed(made, signer, checkpointText(made));
}

/** The line that closes a segment; the anchor's tree has all lines before it. */
export function footer(
  { signer, nextKey }: Turn,
  writer: string,
  { segment, first, tree }: Pick<Footer, "segment" | "first"> & { readonly tree: Tree },
  anchor: Anchor,
) {
  const { size: count, root } = tree;
  const made = { kind: "segment closed", segment, first, count, root, nextKey, anchor } as const;
  return signed(made, signer, footerText(writer, made, anchor.hash));
}

function signed<R>(record: R, key: SigningKey, text: string) {
  return { ...record, signedBy: key.id, signature: key.sign(text) };
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
    // A forger need not write JSON; the chain and its signatures show the forgery.
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
    severity_id: isLoss(record) ? 4 : 1,
  };
}

function isLoss(record: LogRecord): boolean {
  return (
    record.kind === "log damaged" ||
    record.kind === "events lost" ||
    (record.kind === "chain left" && record.cut)
  );
}
