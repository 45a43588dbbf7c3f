import { type Anchor, makeAnchor, type SegmentTree } from "./anchor.ts";
import type { AuditKeys } from "./audit-keys.ts";
import { type Head, roomFor, seal } from "./chain.ts";
import type { Batch } from "./committer.ts";
import { GrowingTree } from "./merkle.ts";
import type { MovingKey } from "./moving-keys.ts";
import { openText } from "./ocsf.ts";
import { checkpoint, footer, type LogRecord, opening, recordFields } from "./records.ts";
import type { OpenSegment } from "./recover.ts";
import { dayOf, segmentName } from "./segments.ts";

export interface SegmentQueueOptions {
  readonly writer: string;
  readonly keys: AuditKeys;
  readonly moving: MovingKey;
  readonly segmentBytes: number;
  /** The end of the chain on disk. */
  readonly head: Head;
  /** The number of the next segment. */
  readonly next: number;
  /** A segment that was left open. */
  readonly unclosed: OpenSegment | undefined;
}

interface Segment {
  readonly name: string;
  readonly number: number;
  readonly day: string;
  readonly first: number;
  /** Over all its lines. */
  readonly tree: GrowingTree;
  bytes: number;
}

/** Memory whose first `length` bytes are lines. */
interface Piece {
  readonly memory: Buffer;
  length: number;
}

/** Lines of one segment that wait. */
interface Group {
  readonly name: string;
  readonly pieces: Piece[];
  /** When its first line was made, Unix time in milliseconds. */
  readonly since: number;
  events: number;
  bytes: number;
  head: Head;
  closes: boolean;
  readonly segment: number;
  /** The segment's tree after its last line, once nothing more is added. */
  tree: GrowingTree | undefined;
}

/** More goes to disk in several writes, so that the first of it is not held up by the last. */
const BATCH_BYTES = 4 * 1024 * 1024;
/** Lines wait as bytes: strings that live until the disk has them would be copied by the garbage collector. */
const PIECE_BYTES = 64 * 1024;

/**
 * The chain in memory: numbers and links each line as it comes, sees where a segment ends, and gives out what
 * waits in batches. No I/O, so that the order of lines is that of the calls.
 */
export class SegmentQueue {
  readonly #options: SegmentQueueOptions;
  #head: Head;
  #durable: Head;
  #durableTree: { readonly segment: number; readonly tree: GrowingTree } | undefined;
  #keyNamedAt = 0;
  #next: number;
  #segment: Segment | undefined;
  readonly #groups: Group[] = [];
  #taken: Group | undefined;
  /** Memory of a batch that is on disk, for the next. */
  #spare: Buffer | undefined;

  constructor(options: SegmentQueueOptions) {
    this.#options = options;
    this.#head = options.head;
    this.#durable = options.head;
    this.#next = options.next;
    if (options.unclosed !== undefined) {
      const { file, ...rest } = options.unclosed;
      this.#segment = { name: file.name, number: file.number, day: file.day, ...rest };
    }
  }

  /** The last line of all. */
  get head(): Head {
    return this.#head;
  }

  /** The last line that is on disk. */
  get durable(): Head {
    return this.#durable;
  }

  /** The tree of its segment up to the last line that is on disk; undefined before the first one is. */
  get durableTree(): SegmentTree | undefined {
    const durable = this.#durableTree;
    return durable && { segment: durable.segment, ...durable.tree.tree };
  }

  /** The number of the last line that named a key: until it is on disk, the key before must be kept. */
  get keyNamedAt(): number {
    return this.#keyNamedAt;
  }

  get isEmpty(): boolean {
    return this.#groups.length === 0 && this.#taken === undefined;
  }

  /** Bytes that wait. Asked at each event. */
  get bytes(): number {
    let sum = this.#taken?.bytes ?? 0;
    for (const group of this.#groups) sum += group.bytes;
    return sum;
  }

  /** Unix time in milliseconds of the first line that waits. */
  get waitsSince(): number | undefined {
    return (this.#taken ?? this.#groups[0])?.since;
  }

  /** Events that wait. */
  get events(): number {
    return this.#groups.reduce((sum, group) => sum + group.events, this.#taken?.events ?? 0);
  }

  /** Closes what is open and begins a segment. */
  begin(now: number): void {
    this.end(now);
    const number = this.#next++;
    const day = dayOf(now);
    const { writer, keys, moving } = this.#options;
    const before = this.#head;
    const tree = new GrowingTree();
    const name = segmentName(day, writer, number);
    this.#segment = { name, number, day, first: before.sequence + 1, tree, bytes: 0 };
    const fields = { segment: number, peopleKey: keys.peopleId };
    this.#append(opening(moving.turn(), writer, fields, before), now);
    this.#keyNamedAt = this.#head.sequence;
  }

  /** Signs all lines of the open segment so far, with a key that signs nothing more. False: there is none to follow it. */
  checkpoint(now: number): boolean {
    this.#rotate(now);
    const segment = this.#segment;
    const { moving } = this.#options;
    if (segment === undefined || !moving.canMove) return false;
    this.#append(checkpoint(moving.turn(), segment.number, this.#anchor(segment, now)), now);
    this.#keyNamedAt = this.#head.sequence;
    return true;
  }

  /** `fields` is the text of a JSON object without its closing brace. */
  event(fields: string, now: number): void {
    this.#rotate(now);
    this.#line(fields, now);
    const group = this.#groups.at(-1);
    if (group !== undefined) group.events += 1;
  }

  record(record: LogRecord, now: number): void {
    this.#rotate(now);
    this.#append(record, now);
  }

  /** Signs and closes the open segment. */
  end(now: number): void {
    const segment = this.#segment;
    if (segment === undefined) return;
    const { number, first, tree } = segment;
    const { moving, writer } = this.#options;
    const fields = { segment: number, first, tree: tree.tree };
    this.#append(footer(moving.turn(), writer, fields, this.#anchor(segment, now)), now);
    this.#keyNamedAt = this.#head.sequence;
    const group = this.#groups.at(-1);
    if (group !== undefined) {
      group.closes = true;
      group.tree = tree;
    }
    this.#segment = undefined;
  }

  /** The next batch; the same one again until `done` is called. */
  take(): Batch | undefined {
    this.#taken ??= this.#groups.shift();
    if (this.#taken !== undefined) this.#finish(this.#taken);
    return this.#taken;
  }

  /** The batch that was taken last is on disk, and nobody looks at its memory any more. */
  done(): void {
    const taken = this.#taken;
    if (taken === undefined) return;
    this.#durable = taken.head;
    if (taken.tree !== undefined) this.#durableTree = { segment: taken.segment, tree: taken.tree };
    this.#spare ??= taken.pieces.find(({ memory }) => memory.length === PIECE_BYTES)?.memory;
    this.#taken = undefined;
  }

  /** Of the last line, as the fleet's key signs it. */
  #anchor({ number, tree }: Segment, now: number): Anchor {
    const { keys, writer } = this.#options;
    return makeAnchor(keys, writer, this.#head, { segment: number, ...tree.tree }, now);
  }

  #rotate(now: number): void {
    const segment = this.#segment;
    if (segment === undefined || segment.bytes >= this.#options.segmentBytes || segment.day !== dayOf(now)) {
      this.begin(now);
    }
  }

  #append(record: LogRecord, now: number): void {
    this.#line(openText(recordFields(record, now)), now);
  }

  #line(fields: string, now: number): void {
    const segment = this.#segment;
    if (segment === undefined) throw new Error("no audit segment is open");
    const group = this.#groupFor(segment, now);
    const piece = this.#pieceFor(group, roomFor(fields));
    const { end, head } = seal(fields, this.#options.writer, this.#head, piece.memory, piece.length);
    this.#head = head;
    segment.tree.append(head.hash);
    segment.bytes += end - piece.length;
    group.bytes += end - piece.length;
    group.head = head;
    piece.length = end;
  }

  #groupFor({ name, number }: Segment, since: number): Group {
    const last = this.#groups.at(-1);
    if (last?.name === name && last.bytes < BATCH_BYTES) return last;
    if (last !== undefined) this.#finish(last);
    const group: Group = {
      name,
      segment: number,
      pieces: [],
      since,
      events: 0,
      bytes: 0,
      head: this.#head,
      closes: false,
      tree: undefined,
    };
    this.#groups.push(group);
    return group;
  }

  /** No line is added any more: its segment's tree is as it will be on disk. */
  #finish(group: Group): void {
    group.tree ??= this.#segment?.tree.snapshot();
  }

  #pieceFor(group: Group, bytes: number): Piece {
    const last = group.pieces.at(-1);
    if (last !== undefined && last.memory.length - last.length >= bytes) return last;
    const piece = { memory: this.#memoryFor(bytes), length: 0 };
    group.pieces.push(piece);
    return piece;
  }

  #memoryFor(bytes: number): Buffer {
    const spare = this.#spare;
    if (bytes > PIECE_BYTES || spare === undefined) {
      return Buffer.allocUnsafeSlow(Math.max(bytes, PIECE_BYTES));
    }
    this.#spare = undefined;
    return spare;
  }
}
