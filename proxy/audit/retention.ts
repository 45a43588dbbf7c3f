import { rm } from "node:fs/promises";
import type { AuditKeys } from "./audit-keys.ts";
import type { Hold } from "./holds.ts";
import { type ClosedSegment, dropped, type LogRecord, recordOf } from "./records.ts";
import {
  byWriter,
  dayOf,
  intactLink,
  linesOf,
  listSegments,
  mayHold,
  readSegment,
  type SegmentFile,
  syncFolder,
} from "./segments.ts";

/** Makes the signed record that tells of what is dropped. */
export type MakeRecord = (keys: AuditKeys) => LogRecord;

/** What may go: Unix times in milliseconds. */
export interface Limits {
  readonly before: number;
  readonly longBefore: number;
  readonly holds: readonly Hold[];
}

/**
 * Deletes closed segments of days before `before`, of all writers. A writer's newest segment stays, for its
 * chain goes on from there, until it is from before `longBefore`: then the writer is no more. What is on hold stays.
 * `say` must put the record on disk: only then is anything deleted, so that a crash in between looks like no theft.
 */
export async function dropOld(
  folder: string,
  { before, longBefore, holds }: Limits,
  say: (record: MakeRecord) => Promise<void>,
): Promise<void> {
  const day = dayOf(before);
  const files: SegmentFile[] = [];
  const segments: ClosedSegment[] = [];
  for (const own of byWriter(await listSegments(folder)).values()) {
    for (const file of own) {
      const limit = file === own.at(-1) ? dayOf(longBefore) : day;
      const isHeld = holds.some(({ period }) => mayHold(file, period));
      const closed = file.day < limit && !isHeld ? await closedSegment(file) : undefined;
      // In order from the oldest: a hole in the middle would be no retention.
      if (closed === undefined) break;
      files.push(file);
      segments.push(closed);
    }
  }
  if (files.length === 0) return;
  await say((keys) => dropped(keys, day, segments));
  for (const file of files) await rm(file.path, { force: true });
  await syncFolder(folder);
}

/** Undefined when it is not closed, or not as it was written: what is damaged is evidence and stays. */
async function closedSegment(file: SegmentFile): Promise<ClosedSegment | undefined> {
  let first = 0;
  let last: ClosedSegment | undefined;
  for (const line of linesOf(await readSegment(file))) {
    const link = intactLink(line);
    if (link === undefined) return undefined;
    first ||= link.sequence;
    const record = recordOf(line.bytes);
    const { sequence, hash } = link;
    const segment = { writer: file.writer, segment: file.number, first, last: sequence, hash };
    last =
      record?.kind === "segment closed"
        ? { ...segment, ...(record.nextKey !== undefined && { nextKey: record.nextKey }) }
        : undefined;
  }
  return last;
}
