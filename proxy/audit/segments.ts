import { open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { isIntact, type Link, linkOf } from "./chain.ts";

/** One file of a writer's chain: `audit-<day>-<writer>-<number>.jsonl`, with `.gz` once it is closed and compressed. */
export interface SegmentFile {
  readonly path: string;
  readonly name: string;
  /** YYYYMMDD, UTC: the day on which it was begun. */
  readonly day: string;
  readonly writer: string;
  readonly number: number;
  readonly compressed: boolean;
}

const NAME = /^audit-(\d{8})-([\w.-]+)-(\d{6,12})\.jsonl(\.gz)?$/;
/** A segment is tens of megabytes; a file made to exhaust memory is refused. */
const LARGEST = 1024 * 1024 * 1024;
/** zlib gives out pieces of this size: small ones cost more than the decompression. */
const CHUNK = 1024 * 1024;
/** Lines are so alike that its best level saves nothing over its fastest, in three times the time. */
const COMPRESSION = { level: 1, chunkSize: CHUNK };
const LINE_FEED = 0x0a;

export function segmentName(day: string, writer: string, number: number): string {
  return `audit-${day}-${writer}-${String(number).padStart(6, "0")}.jsonl`;
}

/** The day that was asked for last: it is asked for at each event. */
let known = { day: Number.NaN, name: "" };

/** Unix time in milliseconds to YYYYMMDD, UTC. */
export function dayOf(time: number): string {
  const day = Math.floor(time / 86_400_000);
  if (day !== known.day) known = { day, name: new Date(time).toISOString().slice(0, 10).replaceAll("-", "") };
  return known.name;
}

/** The segments of all writers, each writer's in order. */
export async function listSegments(folder: string): Promise<readonly SegmentFile[]> {
  const found = new Map<string, SegmentFile>();
  for (const name of await readdir(folder)) {
    const [, day, writer, number, gz] = NAME.exec(name) ?? [];
    if (day === undefined || writer === undefined) continue;
    const file = { path: join(folder, name), name, day, writer, number: Number(number), compressed: !!gz };
    // Both are there when a process died between compressing and deleting; the compressed one is whole.
    const key = segmentName(day, writer, file.number);
    if (file.compressed || !found.has(key)) found.set(key, file);
  }
  return [...found.values()].toSorted((a, b) =>
    a.writer === b.writer ? a.number - b.number || (a.day < b.day ? -1 : 1) : a.writer < b.writer ? -1 : 1,
  );
}

/** A stretch of time, Unix milliseconds; `until` is not in it. */
export interface Period {
  readonly since: number;
  readonly until: number;
}

const DAY = 86_400_000;

/** Whether a segment may have lines of that time. It ends with its day, but for the statement that was running: a day is added on both sides. */
export function mayHold(file: SegmentFile, { since, until }: Period): boolean {
  const day = Date.UTC(
    Number(file.day.slice(0, 4)),
    Number(file.day.slice(4, 6)) - 1,
    Number(file.day.slice(6)),
  );
  return day + 2 * DAY > since && day - DAY < until;
}

/** Groups of one writer each; takes what `listSegments` gives. */
export function byWriter(segments: readonly SegmentFile[]): ReadonlyMap<string, readonly SegmentFile[]> {
  const writers = new Map<string, SegmentFile[]>();
  for (const segment of segments) {
    const own = writers.get(segment.writer);
    if (own === undefined) writers.set(segment.writer, [segment]);
    else own.push(segment);
  }
  return writers;
}

/** The whole content, decompressed, though the file may have been compressed since it was listed. */
export async function readSegment(file: SegmentFile): Promise<Buffer> {
  try {
    const content = await readFile(file.path);
    if (!file.compressed) return content;
    return promisify(gunzip)(content, { maxOutputLength: LARGEST, chunkSize: CHUNK });
  } catch (error) {
    if (file.compressed || (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return readSegment(compressedForm(file));
  }
}

/** A plain file as `compress` leaves it: never is neither of the two there. */
export function compressedForm(file: SegmentFile): SegmentFile {
  return { ...file, path: `${file.path}.gz`, name: `${file.name}.gz`, compressed: true };
}

/** Content of segments one after the other; the next is read and decompressed while the caller works on one. */
export async function* readSegments(
  files: readonly SegmentFile[],
): AsyncGenerator<{ readonly file: SegmentFile; readonly content: Buffer | Error }> {
  const read = (file: SegmentFile | undefined) =>
    file && readSegment(file).catch((error: unknown) => error as Error);
  const ahead = files.slice(0, 2).map(read);
  for (const [i, file] of files.entries()) {
    const content = await ahead.shift();
    ahead.push(read(files[i + 2]));
    if (content !== undefined) yield { file, content };
  }
}

/** One line of a segment, without its line feed. */
export interface Line {
  readonly bytes: Buffer;
  /** Where it begins. */
  readonly at: number;
  /** The file ends before its line feed. */
  readonly torn: boolean;
}

export function* linesOf(content: Buffer): Generator<Line> {
  for (let at = 0; at < content.length; ) {
    const end = content.indexOf(LINE_FEED, at);
    const torn = end === -1;
    yield { bytes: content.subarray(at, torn ? content.length : end), at, torn };
    at = torn ? content.length : end + 1;
  }
}

/** The end of the chain in a line that is as it was written. */
export function intactLink(line: Line): Link | undefined {
  const link = line.torn ? undefined : linkOf(line.bytes);
  return link !== undefined && isIntact(line.bytes, link) ? link : undefined;
}

/** Compresses a closed segment. The plain file goes only when the compressed one is on disk. */
export async function compress(folder: string, file: Pick<SegmentFile, "path">): Promise<void> {
  const target = `${file.path}.gz`;
  const draft = `${target}.tmp`;
  try {
    await writeFile(draft, await promisify(gzip)(await readFile(file.path), COMPRESSION), {
      mode: 0o600,
      flush: true,
    });
  } catch (error) {
    // On a full disk it would only be in the way.
    await rm(draft, { force: true });
    throw error;
  }
  await rename(draft, target);
  await syncFolder(folder);
  await rm(file.path);
}

/** A new, renamed or removed name is on disk only with its folder (fsync(2)). */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
