import type { Anchor } from "./anchor.ts";
import type { TrustedKeys } from "./audit-keys.ts";
import { BEGINNING, type Head, isIntact, type Link, linkOf } from "./chain.ts";
import { GrowingTree } from "./merkle.ts";
import {
  type Checkpoint,
  type ClosedSegment,
  type Footer,
  type LogRecord,
  type Opening,
  recordOf,
} from "./records.ts";
import { type Line, linesOf, type SegmentFile } from "./segments.ts";
import { type RecordPlace, Succession } from "./succession.ts";

/** What was found out about one writer's chain. */
export interface WriterReport {
  readonly writer: string;
  readonly lines: number;
  readonly segments: number;
  /** The last segment has no footer: its writer lives, or died. */
  readonly open: boolean;
  /** Anchors that the chain agrees with. */
  readonly anchors: number;
  /** The first thing that is wrong; undefined when nothing is. */
  readonly problem: string | undefined;
}

/** What is known of a segment while its lines are read. */
interface SegmentProgress {
  readonly file: SegmentFile;
  /** The links of its lines so far: an inserted one is known only by what follows. */
  readonly links: Link[];
  /** Sequences of all its lines, to tell a moved line from a removed one. */
  readonly sequences: ReadonlySet<number>;
  /** Over its lines so far. */
  readonly tree: GrowingTree;
}

/** Follows one writer's chain from line to line and stops at the first that is not as it was written. */
export class ChainCheck {
  readonly #writer: string;
  readonly #trusted: TrustedKeys;
  readonly #dropped: ReadonlyMap<number, ClosedSegment>;
  readonly #anchors: readonly Anchor[];
  readonly #anchorsAt = new Map<number, Anchor[]>();
  #succession: Succession | undefined;
  #head: Head | undefined;
  #number = 0;
  #lines = 0;
  #closed = true;
  #agreed = 0;
  /** The newest sequence that an anchor or a footer's signature vouches for. */
  #vouched = 0;
  #problem: string | undefined;

  constructor(
    writer: string,
    trusted: TrustedKeys,
    anchors: readonly Anchor[],
    dropped: ReadonlyMap<number, ClosedSegment>,
  ) {
    this.#writer = writer;
    this.#trusted = trusted;
    this.#anchors = anchors;
    for (const anchor of anchors) {
      this.#anchorsAt.set(anchor.sequence, [...(this.#anchorsAt.get(anchor.sequence) ?? []), anchor]);
    }
    this.#dropped = dropped;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  unreadable(file: SegmentFile): void {
    this.#wrong(`${file.name} cannot be decompressed: it was cut or changed${this.#after()}`);
  }

  segment(file: SegmentFile, content: Buffer): void {
    if (!this.#follows(file)) return;
    const sequences = new Set<number>();
    for (const { bytes } of linesOf(content)) sequences.add(linkOf(bytes)?.sequence ?? 0);
    const place: SegmentProgress = { file, links: [], sequences, tree: new GrowingTree() };
    let count = 0;
    this.#closed = false;
    for (const line of linesOf(content)) {
      count += 1;
      this.#problem = this.#line(place, line, count);
      if (this.#problem !== undefined) return;
    }
    this.#number = file.number;
  }

  finish(segments: number): WriterReport {
    if (this.#problem === undefined) this.#checkTail();
    return {
      writer: this.#writer,
      lines: this.#lines,
      segments,
      open: !this.#closed,
      anchors: this.#agreed,
      problem: this.#problem,
    };
  }

  /** Segments are numbered without a gap; where the oldest are missing, a signed record says why. */
  #follows(file: SegmentFile): boolean {
    if (this.#head !== undefined) {
      if (file.number === this.#number + 1) return true;
      const missing = this.#number + 1;
      this.#wrong(
        file.number === this.#number
          ? `${file.name} is there twice`
          : `segment ${missing} was removed${this.#after()}`,
      );
      return false;
    }
    const before = this.#dropped.get(file.number - 1);
    if (file.number === 1) this.#head = BEGINNING;
    else if (before !== undefined) this.#head = { sequence: before.last, hash: before.hash };
    else this.#wrong(`segments 1 to ${file.number - 1} were removed without a signed record that allows it`);
    this.#succession = new Succession(this.#writer, this.#trusted, before?.nextKey);
    return this.#problem === undefined;
  }

  #line(place: SegmentProgress, line: Line, number: number): string | undefined {
    const where = `${place.file.name}, line ${number}`;
    const link = linkOf(line.bytes);
    const head = this.#head ?? BEGINNING;
    if (line.torn) return `${where}: event ${head.sequence + 1} is cut in the middle`;
    if (link === undefined || !isIntact(line.bytes, link) || link.writer !== this.#writer) {
      return `${where}: event ${link?.sequence ?? head.sequence + 1} was changed`;
    }
    if (link.previous !== head.hash || link.sequence !== head.sequence + 1) {
      return `${where}: ${broken(place, link, head)}`;
    }
    if (this.#closed) return `${where}: event ${link.sequence} was added to a closed segment`;
    const record = recordOf(line.bytes);
    if (place.links.length === 0 && this.#succession?.moves && record?.kind !== "segment opened")
      return `${where}: the segment has no opening`;
    const wrong = record && this.#checkRecord(record, place);
    if (wrong !== undefined) return `${where}: ${wrong}`;
    place.links.push(link);
    place.tree.append(link.hash);
    this.#head = { sequence: link.sequence, hash: link.hash };
    this.#lines += 1;
    return this.#compareAnchor(link, place, where);
  }

  #compareAnchor(link: Link, { file, tree }: SegmentProgress, where: string): string | undefined {
    const anchors = this.#anchorsAt.get(link.sequence) ?? [];
    const other = anchors.find(
      (anchor) =>
        anchor.hash !== link.hash ||
        (anchor.tree !== undefined &&
          (anchor.tree.segment !== file.number ||
            anchor.tree.size !== tree.size ||
            anchor.tree.root !== tree.root)),
    );
    if (other !== undefined) {
      return (
        `${where}: event ${link.sequence} is not the one that was anchored at ${time(other)}: ` +
        `the chain was rewritten from an event after ${this.#vouched} on`
      );
    }
    if (anchors.length === 0) return undefined;
    this.#agreed += anchors.length;
    this.#vouched = link.sequence;
    return undefined;
  }

  #checkRecord(record: LogRecord, place: SegmentProgress): string | undefined {
    switch (record.kind) {
      case "segment opened":
      case "checkpoint":
      case "segment closed":
        if (record.segment !== place.file.number)
          return `belongs to segment ${record.segment}: the file was renamed`;
        return this.#checkSigned(record, place);
      case "log damaged":
        return `the writer found segment ${record.segment} changed when it started`;
      case "chain left":
        return record.cut
          ? `the writer found the end of segment ${record.segment} of ${record.writer} cut off when it started`
          : undefined;
      case "log repaired":
      case "events lost":
      case "segments dropped":
        return undefined;
    }
  }

  #checkSigned(record: Opening | Checkpoint | Footer, { links, tree }: SegmentProgress): string | undefined {
    const succession = this.#succession;
    if (succession === undefined) return "no chain is followed";
    const place: RecordPlace = { before: this.#head ?? BEGINNING, lines: tree.tree };
    switch (record.kind) {
      case "segment opened":
        if (links.length > 0) return "a segment is opened in the middle of another";
        return succession.opening(record, place);
      case "checkpoint":
        return this.#vouchFor(succession.checkpoint(record, place), place);
      case "segment closed": {
        const isFirst = record.first === links[0]?.sequence;
        const problem = isFirst ? succession.footer(record, place) : "the segment's signature does not fit";
        this.#closed = problem === undefined;
        return this.#vouchFor(problem, place);
      }
    }
  }

  #vouchFor(problem: string | undefined, { before }: RecordPlace): string | undefined {
    if (problem !== undefined)
      return `${problem}: its chain was rewritten from an event after ${this.#vouched} on`;
    this.#vouched = before.sequence;
    return undefined;
  }

  /** An anchor past the end, or of a line that is in no file, tells of a cut tail. */
  #checkTail(): void {
    const head = this.#head ?? BEGINNING;
    const lastDropped = Math.max(0, ...[...this.#dropped.values()].map(({ last }) => last));
    const gone = this.#anchors.filter(({ sequence }) => sequence > Math.max(head.sequence, lastDropped));
    const newest = gone.reduce<Anchor | undefined>(
      (a, b) => (a === undefined || b.sequence > a.sequence ? b : a),
      undefined,
    );
    if (newest === undefined) return;
    this.#wrong(
      `events ${head.sequence + 1} to ${newest.sequence} were cut off: ` +
        `event ${newest.sequence} was anchored at ${time(newest)}`,
    );
  }

  #after(): string {
    return `, after event ${this.#head?.sequence ?? 0}`;
  }

  #wrong(problem: string): void {
    this.#problem ??= problem;
  }
}

/** Says what was done to lines whose links do not meet. */
function broken(place: SegmentProgress, link: Link, head: Head): string {
  const expected = head.sequence + 1;
  if (place.links.some(({ hash }) => hash === link.hash)) return `event ${link.sequence} is there again`;
  // The line fits one further up: the lines between were inserted later.
  const fits = place.links.findIndex(({ hash }) => hash === link.previous);
  const inserted = place.links[fits + 1];
  if (fits !== -1 && inserted !== undefined && fits + 1 < place.links.length) {
    return `event ${inserted.sequence}, the line after event ${inserted.sequence - 1}, was inserted or changed`;
  }
  if (link.sequence === expected) return `event ${head.sequence} before it was changed`;
  if (link.sequence < expected) return `event ${link.sequence} was inserted`;
  if (place.sequences.has(expected))
    return `event ${expected} was moved: event ${link.sequence} is in its place`;
  const last = link.sequence - 1;
  return expected === last ? `event ${expected} was removed` : `events ${expected} to ${last} were removed`;
}

function time(anchor: Anchor): string {
  return new Date(anchor.time).toISOString();
}
