import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { BEGINNING, type Head } from "./chain.ts";
import { GrowingTree } from "./merkle.ts";
import { type LogRecord, recordOf } from "./records.ts";
import { compress, intactLink, linesOf, listSegments, readSegment, type SegmentFile } from "./segments.ts";

/** Where a writer's chain goes on. */
export interface Recovered {
  readonly head: Head;
  /** The number of the next segment. */
  readonly next: number;
  /** The segment that a process left open, to be closed before the next one begins. */
  readonly unclosed: OpenSegment | undefined;
  /** What must be said in the log. */
  readonly record: LogRecord | undefined;
  /** The public key that the chain names last (records.ts); older chains name none. */
  readonly nextKey: string | undefined;
}

export interface OpenSegment {
  readonly file: SegmentFile;
  readonly first: number;
  /** Bytes of it that are on disk, and the tree of these lines. */
  readonly bytes: number;
  readonly tree: GrowingTree;
}

/**
 * Reads the end of a writer's chain, cuts off the half line of a process that died in a write, and compresses
 * what was closed but not yet compressed. No acknowledged event is in what is cut: it would be whole.
 */
export async function recover(folder: string, writer: string): Promise<Recovered> {
  await removeDrafts(folder, writer);
  const recovered = await findEnd(await ownSegments(folder, writer));
  for (const file of await ownSegments(folder, writer)) {
    if (file.number !== recovered.unclosed?.file.number) await compressClosed(folder, file);
  }
  return recovered;
}

async function ownSegments(folder: string, writer: string): Promise<readonly SegmentFile[]> {
  return (await listSegments(folder)).filter((segment) => segment.writer === writer);
}

async function findEnd(own: readonly SegmentFile[]): Promise<Recovered> {
  let next = (own.at(-1)?.number ?? 0) + 1;
  let record: LogRecord | undefined;
  for (const file of own.toReversed()) {
    const end = await readEnd(file);
    if (end.damaged) record ??= { kind: "log damaged", segment: file.number };
    else if (end.torn > 0) record ??= { kind: "log repaired", segment: file.number, bytes: end.torn };
    if (end.head !== undefined) return continued(file, end, end.head, next, record);
    if (end.damaged) continue;
    // The process died in its first write to it.
    await rm(file.path);
    next = file.number;
  }
  return { head: BEGINNING, next, unclosed: undefined, record, nextKey: undefined };
}

/** The end of a segment. */
interface End {
  readonly head: Head | undefined;
  readonly first: number;
  /** Bytes of whole lines, and of the half line after them. */
  readonly bytes: number;
  readonly torn: number;
  readonly closed: boolean;
  /** Something other than a half line stands where a line should be. */
  readonly damaged: boolean;
  readonly tree: GrowingTree;
  readonly nextKey: string | undefined;
}

const NOTHING = { head: undefined, first: 0, bytes: 0, torn: 0, nextKey: undefined } as const;

async function readEnd(file: SegmentFile): Promise<End> {
  let content: Buffer;
  try {
    content = await readSegment(file);
  } catch (error) {
    if (!isBroken(error)) throw error;
    return { ...NOTHING, closed: true, damaged: true, tree: new GrowingTree() };
  }
  const tree = new GrowingTree();
  let head: Head | undefined;
  let nextKey: string | undefined;
  let [first, bytes, closed] = [0, 0, false];
  for (const line of linesOf(content)) {
    const link = intactLink(line);
    if (link === undefined) {
      // A power cut leaves zeroes where a page was not written; whatever follows was not acknowledged.
      const torn = line.torn || line.bytes.includes(0);
      const end = { head, first, bytes, closed, tree, nextKey };
      return { ...end, torn: torn ? content.length - bytes : 0, damaged: !torn };
    }
    head = link;
    if (first === 0) first = link.sequence;
    bytes = line.at + line.bytes.length + 1;
    tree.append(link.hash);
    const record = recordOf(line.bytes);
    closed = record?.kind === "segment closed";
    if (record !== undefined && "nextKey" in record) nextKey = record.nextKey;
  }
  return { head, first, bytes, torn: 0, closed, damaged: false, tree, nextKey };
}

async function continued(
  file: SegmentFile,
  end: End,
  head: Head,
  next: number,
  record: LogRecord | undefined,
): Promise<Recovered> {
  if (end.torn > 0 && !file.compressed) await cut(file, end.bytes);
  const writable = !end.closed && !end.damaged && !file.compressed;
  const { first, bytes, tree, nextKey } = end;
  return { head, next, unclosed: writable ? { file, first, bytes, tree } : undefined, record, nextKey };
}

async function cut(file: SegmentFile, bytes: number): Promise<void> {
  const handle = await open(file.path, "r+");
  try {
    await handle.truncate(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function compressClosed(folder: string, file: SegmentFile): Promise<void> {
  if (file.compressed) {
    // A process may have died before it deleted the plain one.
    await rm(file.path.slice(0, -".gz".length), { force: true });
    return;
  }
  const end = await readEnd(file);
  if (end.closed && !end.damaged && end.torn === 0) await compress(folder, file);
}

/** Half-compressed files of a process that died. */
async function removeDrafts(folder: string, writer: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.endsWith(".tmp") && name.includes(`-${writer}-`)) await rm(join(folder, name), { force: true });
  }
}

/** zlib's own errors (Z_DATA_ERROR, Z_BUF_ERROR) tell of content, those of the system do not. */
function isBroken(error: unknown): boolean {
  return ((error as NodeJS.ErrnoException).code ?? "").startsWith("Z_");
}
