import type { Log } from "../log.ts";
import type { AnchorSink } from "./anchor.ts";

export interface FileLogOptions {
  readonly folder: string;
  /** The audit key (keys.ts): people are hashed and segments signed with keys made from it. */
  readonly key: Buffer;
  readonly log: Log;
  /** Told how many events will never be on disk. */
  readonly onLost: (events: number) => void;
  /** Whether rows may be released when their event cannot be written. "closed" if left out. */
  readonly onLoss?: "closed" | "open";
  /** Told of the chain's end from time to time; by default the operational log is. */
  readonly anchor?: AnchorSink;
  /** Given the lines that have got to disk, in their order. It must not throw. */
  readonly onDurable?: (lines: readonly string[]) => void;
  /** Days for which closed segments are kept; for ever if left out. */
  readonly retentionDays?: number;
  /** Unix time in milliseconds. */
  readonly now?: () => number;
  /** How many bytes may wait for a disk that takes nothing; beyond it new events are lost. */
  readonly maxPending?: number;
  /** A longer segment is closed and a new one begun. */
  readonly segmentBytes?: number;
  /** Milliseconds that an event may wait for others to share its way to disk, when nobody waits for it. */
  readonly commitDelay?: number;
  /** Milliseconds after which a disk that does not answer counts as one that takes nothing. */
  readonly patience?: number;
  /** Milliseconds between anchors. */
  readonly anchorEvery?: number;
  /** Milliseconds between checkpoints: what is older cannot be signed again by anybody. */
  readonly checkpointEvery?: number;
}

export const DEFAULTS = {
  onLoss: "closed" as "closed" | "open",
  maxPending: 64 * 1024 * 1024,
  segmentBytes: 64 * 1024 * 1024,
  commitDelay: 50,
  patience: 5_000,
  anchorEvery: 10_000,
  // Twice in the minute that docs/audit.md promises.
  checkpointEvery: 25_000,
};
