import { type Anchor, isGenuine } from "./anchor.ts";
import type { TrustedKeys } from "./audit-keys.ts";
import { isSigned } from "./audit-keys.ts";
import { ChainCheck, type WriterReport } from "./chain-check.ts";
import { type ClosedSegment, droppedText, recordOf } from "./records.ts";
import { byWriter, linesOf, listSegments, readSegments, type SegmentFile } from "./segments.ts";

/** Checks the log of a folder: the first event of each writer that is not as it was written. */
export async function verifyLog(
  folder: string,
  trusted: TrustedKeys,
  anchors: readonly Anchor[],
): Promise<readonly WriterReport[]> {
  const segments = await listSegments(folder);
  const writers = byWriter(segments);
  const forged = anchors.find((anchor) => !isGenuine(anchor, trusted));
  const genuine = anchors.filter((anchor) => isGenuine(anchor, trusted));
  const drops = await droppedSegments(segments, trusted);
  const reports: WriterReport[] = [];
  const names = new Set([...writers.keys(), ...genuine.map(({ writer }) => writer)]);
  for (const writer of [...names].toSorted()) {
    const own = genuine.filter((anchor) => anchor.writer === writer);
    reports.push(await verifyWriter(writer, writers.get(writer) ?? [], own, trusted, drops));
  }
  if (forged !== undefined) reports.push(forgedAnchor(forged));
  return reports;
}

/** By writer: the last of its segments that retention dropped, as signed records tell. */
type Drops = ReadonlyMap<string, ReadonlyMap<number, ClosedSegment>>;

async function verifyWriter(
  writer: string,
  segments: readonly SegmentFile[],
  anchors: readonly Anchor[],
  trusted: TrustedKeys,
  drops: Drops,
): Promise<WriterReport> {
  const dropped = drops.get(writer) ?? new Map<number, ClosedSegment>();
  const check = new ChainCheck(writer, trusted, anchors, dropped);
  for await (const { file, content } of readSegments(segments)) {
    if (content instanceof Error) check.unreadable(file);
    else check.segment(file, content);
    if (check.problem !== undefined) break;
  }
  return check.finish(segments.length);
}

/** Reads all records of retention; the chains that they stand in are checked by themselves. */
async function droppedSegments(segments: readonly SegmentFile[], trusted: TrustedKeys): Promise<Drops> {
  const drops = new Map<string, Map<number, ClosedSegment>>();
  for await (const { content } of readSegments(segments)) {
    if (content instanceof Error || !content.includes('"kind":"segments dropped"')) continue;
    for (const line of linesOf(content)) {
      for (const segment of droppedIn(line.bytes, trusted)) {
        const own = drops.get(segment.writer) ?? new Map<number, ClosedSegment>();
        own.set(segment.segment, segment);
        drops.set(segment.writer, own);
      }
    }
  }
  return drops;
}

function droppedIn(line: Buffer, trusted: TrustedKeys): readonly ClosedSegment[] {
  const record = recordOf(line);
  if (record?.kind !== "segments dropped") return [];
  const { signedBy, signature } = record;
  return isSigned(trusted, signedBy, droppedText(record), signature) ? record.segments : [];
}

function forgedAnchor(anchor: Anchor): WriterReport {
  const problem = `the anchor of event ${anchor.sequence} bears no signature of a trusted key (${anchor.signedBy})`;
  return { writer: anchor.writer, lines: 0, segments: 0, open: false, anchors: 0, problem };
}
