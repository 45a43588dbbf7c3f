import { performance } from "node:perf_hooks";
import type { Account, Batch, CounterStore, Grant } from "./meter.ts";
import { RowHistory } from "./row-history.ts";
import { type PeopleSpan, type RowsSpan, type Spans, spansOf } from "./windows.ts";

export interface MemoryStoreOptions {
  /** Unix time in milliseconds. The default does not step when the machine's clock is set. */
  readonly now?: () => number;
  /** How many counted people all users together may have; beyond it nothing more is released. */
  readonly maxPeople?: number;
}

/** Counters of this process alone; they start at zero with it. */
export function createMemoryStore(options: MemoryStoreOptions = {}): CounterStore {
  return new MemoryStore(options);
}

/** About 200 bytes each. */
const MAX_PEOPLE = 2_000_000;
const SWEEP_EVERY = 60_000;

const ALL: Grant = { kind: "all" };
const UNREACHABLE: Grant = { kind: "unreachable" };

/** What is known of one user. */
interface Book {
  /** Time of the last read by person, in the order of these times. */
  readonly people: Map<string, number>;
  readonly rows: RowHistory;
  /** For how long history is of use to any of the user's roles, and until when that holds. */
  keep: number;
  keepUntil: number;
}

/** One window during one charge; `cost` is that of the row under judgement. */
type Tally = { used: number; cost: number } & (
  | { readonly of: "people"; readonly span: PeopleSpan }
  | { readonly of: "rows"; readonly span: RowsSpan }
);

class MemoryStore implements CounterStore {
  readonly #clock: () => number;
  readonly #maxPeople: number;
  readonly #books = new Map<string, Book>();
  #people = 0;
  #unknown = 0;
  #time = 0;
  #nextSweep = 0;
  #closed = false;

  constructor(options: MemoryStoreOptions) {
    this.#clock = options.now ?? (() => Math.floor(performance.timeOrigin + performance.now()));
    this.#maxPeople = options.maxPeople ?? MAX_PEOPLE;
  }

  get ready(): boolean {
    return !this.#closed;
  }

  async charge(account: Account, batch: Batch): Promise<Grant> {
    if (this.#closed) return UNREACHABLE;
    // A clock that steps back must not mix up the order of the reads.
    this.#time = Math.max(this.#time, this.#clock());
    this.#sweep(this.#time);
    return this.#charge(account, batch, this.#time);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#books.clear();
  }

  #charge(account: Account, batch: Batch, now: number): Grant {
    const spans = spansOf(account.windows);
    const book = this.#open(account, spans, now);
    const tallies = tally(book, spans, now);
    let row = 0;
    while (row < batch.rows) {
      const people = spans.people.length > 0 ? peopleOf(batch, row) : [];
      const unknown = spans.people.length > 0 ? batch.unknownPerRow : 0;
      // What was counted of this batch stays counted: too much rather than too little.
      if (this.#people + people.length + unknown > this.#maxPeople) return UNREACHABLE;
      setCosts(tallies, book, people, unknown, now);
      if (tallies.some(isFull)) break;
      for (const each of tallies) each.used += each.cost;
      this.#read(book, people, unknown, now);
      row += 1;
    }
    if (spans.rows.length > 0) book.rows.add(row, now);
    return row === batch.rows ? ALL : stoppedBy(tallies.filter(isFull), book, row, now);
  }

  #open(account: Account, spans: Spans, now: number): Book {
    const key = `${account.database}\0${account.user}`;
    let book = this.#books.get(key);
    if (book === undefined) {
      book = { people: new Map(), rows: new RowHistory(), keep: 0, keepUntil: 0 };
      this.#books.set(key, book);
    }
    if (spans.keep >= book.keep || book.keepUntil <= now) {
      book.keep = spans.keep;
      book.keepUntil = now + spans.keep;
    }
    this.#forget(book, now);
    return book;
  }

  #read(book: Book, people: readonly string[], unknown: number, now: number): void {
    const before = book.people.size;
    for (const person of people) {
      book.people.delete(person);
      book.people.set(person, now);
    }
    for (let i = 0; i < unknown; i++) book.people.set(`\0${this.#unknown++}`, now);
    this.#people += book.people.size - before;
  }

  #forget(book: Book, now: number): void {
    for (const [person, time] of book.people) {
      if (time > now - book.keep) break;
      book.people.delete(person);
      this.#people -= 1;
    }
  }

  /** Users who no longer come would otherwise stay for ever. */
  #sweep(now: number): void {
    if (now < this.#nextSweep) return;
    this.#nextSweep = now + SWEEP_EVERY;
    for (const [key, book] of this.#books) {
      this.#forget(book, now);
      book.rows.forgetBefore(now - book.keep);
      if (book.people.size === 0 && book.rows.empty) this.#books.delete(key);
    }
  }
}

function tally(book: Book, spans: Spans, now: number): readonly Tally[] {
  const people = spans.people.map((span): Tally => ({ of: "people", span, used: 0, cost: 0 }));
  for (const time of book.people.values()) {
    for (const each of people) if (time > now - each.span.span) each.used += 1;
  }
  const rows = spans.rows.map(
    (span): Tally => ({ of: "rows", span, used: book.rows.used(span, now), cost: 0 }),
  );
  return [...people, ...rows];
}

/** The people of one row, each once. */
function peopleOf(batch: Batch, row: number): readonly string[] {
  const width = batch.namespaces.length;
  const people: string[] = [];
  for (let i = 0; i < width; i++) {
    const identity = batch.people[row * width + i];
    if (identity === undefined || identity === "") continue;
    const person = `${batch.namespaces[i]}\0${identity}`;
    if (!people.includes(person)) people.push(person);
  }
  return people;
}

function setCosts(
  tallies: readonly Tally[],
  book: Book,
  people: readonly string[],
  unknown: number,
  now: number,
): void {
  for (const each of tallies) {
    each.cost = each.of === "rows" ? 1 : unknown;
    if (each.of === "rows") continue;
    const since = now - each.span.span;
    for (const person of people) {
      if ((book.people.get(person) ?? Number.NEGATIVE_INFINITY) <= since) each.cost += 1;
    }
  }
}

/** A row that adds nothing to a window is never stopped by it. */
function isFull({ used, cost, span }: Tally): boolean {
  return cost > 0 && used + cost > span.window.limit;
}

/** Of several full windows the one that makes the next row wait longest. */
function stoppedBy(full: readonly Tally[], book: Book, rows: number, now: number): Grant {
  let grant: Extract<Grant, { kind: "part" }> | undefined;
  for (const each of full) {
    const freesAt = each.of === "rows" ? book.rows.fitsAt(each.span, now) : peopleFitAt(each, book, now);
    if (grant !== undefined && freesAt <= grant.freesAt) continue;
    grant = { kind: "part", rows, window: each.span.window, used: each.used, freesAt };
  }
  if (grant === undefined) throw new Error("a row was stopped by no window");
  return grant;
}

/** When so many of the oldest have left that the row under judgement fits. */
function peopleFitAt({ used, cost, span: { span, window } }: Tally, book: Book, now: number): number {
  let leaving = Math.max(1, Math.min(used + cost - window.limit, used));
  for (const time of book.people.values()) {
    if (time <= now - span) continue;
    leaving -= 1;
    if (leaving === 0) return time + span;
  }
  return now;
}
