import { type Head, roomFor, seal } from "./chain.ts";
import type { Batch } from "./committer.ts";
import type { AuditKeys } from "./keys.ts";
import { openText } from "./ocsf.ts";
import { footer, type LogRecord, recordFields } from "./records.ts";
import type { OpenSegment } from "./recover.ts";
import { dayOf, segmentName } from "./segments.ts";

export interface SegmentQueueOptions {
  readonly writer: string;
  readonly keys: AuditKeys;
  readonly segmentBytes: number;
  /** Where the chain stands on disk. */
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
  count: number;
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
      const { file, first, count, bytes } = options.unclosed;
      this.#segment = { name: file.name, number: file.number, day: file.day, first, count, bytes };
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
    const name = segmentName(day, this.#options.writer, number);
    this.#segment = { name, number, day, first: this.#head.sequence + 1, count: 0, bytes: 0 };
    const { id: signedBy, peopleId: peopleKey } = this.#options.keys;
    this.#append({ kind: "segment opened", segment: number, signedBy, peopleKey }, now);
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
    if (this.#segment === undefined) return;
    const { number, first, count } = this.#segment;
    const { keys, writer } = this.#options;
    this.#append(footer(keys, writer, { segment: number, first, count }, this.#head.hash), now);
    const group = this.#groups.at(-1);
    if (group !== undefined) group.closes = true;
    this.#segment = undefined;
  }

  /** The next batch; the same one again until `done` is called. */
  take(): Batch | undefined {
    this.#taken ??= this.#groups.shift();
    return this.#taken;
  }

  /** The batch that was taken last is on disk, and nobody looks at its memory any more. */
  done(): void {
    const taken = this.#taken;
    if (taken === undefined) return;
    this.#durable = taken.head;
    this.#spare ??= taken.pieces.find(({ memory }) => memory.length === PIECE_BYTES)?.memory;
    this.#taken = undefined;
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
    const group = this.#groupFor(segment.name, now);
    const piece = this.#pieceFor(group, roomFor(fields));
    const { end, head } = seal(fields, this.#options.writer, this.#head, piece.memory, piece.length);
    this.#head = head;
    segment.count += 1;
    segment.bytes += end - piece.length;
    group.bytes += end - piece.length;
    group.head = head;
    piece.length = end;
  }

  #groupFor(name: string, since: number): Group {
    const last = this.#groups.at(-1);
    if (last?.name === name && last.bytes < BATCH_BYTES) return last;
    const group: Group = { name, pieces: [], since, events: 0, bytes: 0, head: this.#head, closes: false };
    this.#groups.push(group);
    return group;
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
