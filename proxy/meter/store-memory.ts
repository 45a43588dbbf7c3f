import { performance } from "node:perf_hooks";
import { PERSON, peopleFor } from "../policy/price-units.ts";
import { AmountHistory } from "./amount-history.ts";
import { lacksBytes, type Span, type Spans, spansOf } from "./budget-windows.ts";
import { costOf, unitsOf } from "./costs.ts";
import type { Account, Batch, CounterStore, Grant, OnUsed, WindowUse } from "./meter.ts";
import { nearlyFull, scopeParts } from "./scopes.ts";

export interface MemoryStoreOptions {
  /** Unix time in milliseconds. The default does not step when the machine's clock is set. */
  readonly now?: () => number;
  /** The maximum number of counted people of all users together; beyond it nothing more is released. */
  readonly maxPeople?: number;
  readonly onUsed?: OnUsed;
}

/** Counters of this process only; they start at zero. */
export function createMemoryStore(options: MemoryStoreOptions = {}): CounterStore {
  return new MemoryStore(options);
}

/** About 200 bytes each. */
const MAX_PEOPLE = 2_000_000;
const SWEEP_EVERY = 60_000;

const ALL: Grant = { kind: "all" };
const UNREACHABLE: Grant = { kind: "unreachable" };

/** The counts of one user, role or address. */
interface Book {
  /** Time of the last read by person, in the order of these times. */
  readonly people: Map<string, number>;
  readonly amounts: {
    readonly rows: AmountHistory;
    readonly bytes: AmountHistory;
    readonly lookups: AmountHistory;
    readonly changes: AmountHistory;
  };
  /** Units that do not make a person yet: see `prices.ts`. */
  fraction: number;
  /** How long some policy of this scope needs the history, and until when that is valid. */
  keep: number;
  keepUntil: number;
}

/** One window during one charge; `cost` is that of the row being checked. */
interface Tally {
  readonly span: Span;
  readonly book: Book;
  used: number;
  cost: number;
}

class MemoryStore implements CounterStore {
  readonly #clock: () => number;
  readonly #maxPeople: number;
  readonly #onUsed: OnUsed | undefined;
  readonly #books = new Map<string, Book>();
  #people = 0;
  #unknown = 0;
  #time = 0;
  #nextSweep = 0;
  #closed = false;

  constructor(options: MemoryStoreOptions) {
    this.#clock = options.now ?? (() => Math.floor(performance.timeOrigin + performance.now()));
    this.#maxPeople = options.maxPeople ?? MAX_PEOPLE;
    this.#onUsed = options.onUsed;
  }

  get ready(): boolean {
    return !this.#closed;
  }

  async charge(account: Account, batch: Batch): Promise<Grant> {
    if (this.#closed) return UNREACHABLE;
    return this.#charge(account, batch, this.#now());
  }

  async usage(account: Account): Promise<readonly WindowUse[] | undefined> {
    if (this.#closed) return undefined;
    const now = this.#now();
    const spans = spansOf(account.windows);
    return tally(spans, this.#open(account, spans, now), now).map((each) => ({
      window: each.span.window,
      used: each.used,
      ...(countsPeople(each) && each.book.fraction > 0 && { fraction: each.book.fraction }),
    }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#books.clear();
  }

  /** A clock that goes back must not change the order of the reads. */
  #now(): number {
    this.#time = Math.max(this.#time, this.#clock());
    this.#sweep(this.#time);
    return this.#time;
  }

  #charge(account: Account, batch: Batch, now: number): Grant {
    const spans = spansOf(account.windows);
    if (lacksBytes(spans, batch)) return UNREACHABLE;
    const books = this.#open(account, spans, now);
    const tallies = tally(spans, books, now);
    let row = 0;
    while (row < batch.rows) {
      const people = spans.countsPeople ? peopleOf(batch, row) : [];
      const unknown = spans.countsPeople ? batch.unknownPerRow * costOf(batch) : 0;
      const units = spans.countsPeople ? (batch.units?.[row] ?? 0) : 0;
      const revealed = revealsOf(batch, row);
      const most = people.length + revealed.length + unknown + peopleFor(0, units) + 1;
      // Rows of this batch that were counted stay counted: too many rather than too few.
      if (this.#people + books.length * most > this.#maxPeople) return UNREACHABLE;
      setCosts(tallies, batch, row, { people, revealed }, now);
      if (tallies.some(isFull)) break;
      for (const each of tallies)
        each.used += countsPeople(each) ? each.cost - room(each.book, units) : each.cost;
      for (const book of new Set(tallies.filter(countsPeople).map((each) => each.book))) {
        const spent = book.fraction + units;
        book.fraction = spent % PERSON;
        this.#read(book, people, unknown + Math.floor(spent / PERSON), now);
      }
      const counting = tallies.filter(countsReveals).map((each) => [each.book, each] as const);
      for (const { book, span } of new Map(counting).values()) {
        const own = revealed.filter(({ of }) => of === span.window.of);
        const known = own.flatMap(({ person }) => person ?? []);
        this.#read(book, known, own.length - known.length, now);
      }
      row += 1;
    }
    for (const [book, what] of amountsOf(tallies)) book.amounts[what].add(amountOf(batch, what, row), now);
    const uses = usesOf(tallies);
    this.#onUsed?.(account, uses);
    if (row < batch.rows) return { ...stoppedBy(tallies, row, now), ...nearlyFull(uses) };
    const near = nearlyFull(uses);
    return near.near === undefined ? ALL : { kind: "all", ...near };
  }

  #open(account: Account, { scopes }: Spans, now: number): readonly Book[] {
    return scopes.map(({ scope, of, keep }) => {
      const key = scopeParts(account, scope, of).join("\0");
      let book = this.#books.get(key);
      if (book === undefined) {
        const amounts = {
          rows: new AmountHistory(),
          bytes: new AmountHistory(),
          lookups: new AmountHistory(),
          changes: new AmountHistory(),
        };
        book = { people: new Map(), amounts, fraction: 0, keep: 0, keepUntil: 0 };
        this.#books.set(key, book);
      }
      if (keep >= book.keep || book.keepUntil <= now) {
        book.keep = keep;
        book.keepUntil = now + keep;
      }
      this.#forget(book, now);
      return book;
    });
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

  /** Removes the books of users who no longer come, which would otherwise stay forever. */
  #sweep(now: number): void {
    if (now < this.#nextSweep) return;
    this.#nextSweep = now + SWEEP_EVERY;
    for (const [key, book] of this.#books) {
      this.#forget(book, now);
      const amounts = Object.values(book.amounts);
      for (const history of amounts) history.forgetBefore(now - book.keep);
      if (book.people.size === 0 && amounts.every((history) => history.empty)) this.#books.delete(key);
    }
  }
}

function tally({ windows }: Spans, books: readonly Book[], now: number): readonly Tally[] {
  return windows.map((span) => {
    const book = books[span.scope];
    if (book === undefined) throw new Error("a window of no scope");
    return { span, book, used: usedOf(span, book, now), cost: 0 };
  });
}

function usedOf(span: Span, book: Book, now: number): number {
  const what = amountIn(span);
  if (what !== undefined) return book.amounts[what].used(span, now);
  let used = 0;
  for (const time of book.people.values()) if (time > now - span.span) used += 1;
  return used;
}

function usesOf(tallies: readonly Tally[]): readonly WindowUse[] {
  return tallies.map(({ span, used }) => ({ window: span.window, used }));
}

function countsPeople({ span }: Tally): boolean {
  return span.window.what === "people";
}

function countsReveals({ span }: Tally): boolean {
  return span.window.what === "reveals";
}

type Amount = keyof Book["amounts"];

/** Undefined for a window that counts distinct people. */
function amountIn({ window }: Span): Amount | undefined {
  const { what } = window;
  return what === "people" || what === "reveals" ? undefined : what;
}

/** The amounts of each book that some window counts, each once. */
function amountsOf(tallies: readonly Tally[]): readonly (readonly [Book, Amount])[] {
  const pairs = new Map<Book, Set<Amount>>();
  for (const { book, span } of tallies) {
    const what = amountIn(span);
    if (what !== undefined) pairs.set(book, (pairs.get(book) ?? new Set()).add(what));
  }
  return [...pairs].flatMap(([book, amounts]) => [...amounts].map((what) => [book, what] as const));
}

/** The amount of the first `rows` rows. */
function amountOf(batch: Batch, what: Amount, rows: number): number {
  const { bytes } = batch;
  if (what === "bytes") return (bytes ?? []).slice(0, rows).reduce((sum, size) => sum + size, 0);
  return rows * eachOf(batch, what);
}

/** The cost of one row. */
function eachOf({ counts = "rows", amount = 1 }: Batch, what: Amount): number {
  return what === counts ? amount : 0;
}

/** The people of one row, each of their units once. */
function peopleOf(batch: Batch, row: number): readonly string[] {
  const width = batch.namespaces.length;
  const people: string[] = [];
  for (let i = 0; i < width; i++) {
    const identity = batch.people[row * width + i];
    if (identity === undefined || identity === "") continue;
    const person = `${batch.namespaces[i]}\0${identity}`;
    if (people.includes(person)) continue;
    for (const unit of unitsOf(batch)) people.push([person, ...unit].join("\0"));
  }
  return people;
}

interface Revealed {
  readonly of: string;
  /** Undefined for someone unknown. */
  readonly person: string | undefined;
}

/** The reveals of one row, each person's once for a class. */
function revealsOf({ reveals = [] }: Batch, row: number): readonly Revealed[] {
  const seen = new Set<string>();
  return reveals.flatMap(({ row: at, of, namespace, identity }): readonly Revealed[] => {
    if (at !== row) return [];
    if (identity === undefined) return [{ of, person: undefined }];
    const person = `${namespace}\0${identity}`;
    if (seen.has(`${of}\0${person}`)) return [];
    seen.add(`${of}\0${person}`);
    return [{ of, person }];
  });
}

/** Whom a row shows. */
interface Shown {
  readonly people: readonly string[];
  readonly revealed: readonly Revealed[];
}

function setCosts(tallies: readonly Tally[], batch: Batch, row: number, shown: Shown, now: number): void {
  for (const each of tallies) each.cost = addedTo(each, batch, row, shown, now);
}

function addedTo(
  { span, book }: Tally,
  batch: Batch,
  row: number,
  { people, revealed }: Shown,
  now: number,
): number {
  const amount = amountIn(span);
  if (amount === "bytes") return batch.bytes?.[row] ?? 0;
  if (amount !== undefined) return eachOf(batch, amount);
  const since = now - span.span;
  const isFresh = (person: string) => (book.people.get(person) ?? Number.NEGATIVE_INFINITY) <= since;
  if (span.window.what === "reveals")
    return revealed.filter(
      ({ of, person }) => of === span.window.of && (person === undefined || isFresh(person)),
    ).length;
  const fresh = people.filter(isFresh);
  return (
    batch.unknownPerRow * costOf(batch) + peopleFor(book.fraction, batch.units?.[row] ?? 0) + fresh.length
  );
}

/** The part of the cost that is only reserved for units that do not make a person yet. */
function room({ fraction }: Book, units: number): number {
  return peopleFor(fraction, units) - (units === 0 ? 0 : Math.floor((fraction + units) / PERSON));
}

/** A row that adds nothing to a window is never stopped by it. */
function isFull({ used, cost, span }: Tally): boolean {
  return cost > 0 && used + cost > span.window.limit;
}

/** Of several full windows, the one for which the next row must wait longest. */
function stoppedBy(tallies: readonly Tally[], rows: number, now: number): Grant {
  let grant: Extract<Grant, { kind: "part" }> | undefined;
  for (const each of tallies.filter(isFull)) {
    const { window } = each.span;
    const amount = amountIn(each.span);
    const freesAt =
      amount === undefined
        ? peopleFitAt(each, now)
        : each.book.amounts[amount].fitsAt(each.span, each.cost, now);
    if (grant !== undefined && freesAt <= grant.freesAt) continue;
    grant = { kind: "part", rows, window, used: each.used, freesAt };
  }
  if (grant === undefined) throw new Error("a row was stopped by no window");
  return grant;
}

/** The time when enough of the oldest people have left for the row being checked to fit. */
function peopleFitAt({ used, cost, book, span: { span, window } }: Tally, now: number): number {
  let leaving = Math.max(1, Math.min(used + cost - window.limit, used));
  for (const time of book.people.values()) {
    if (time <= now - span) continue;
    leaving -= 1;
    if (leaving === 0) return time + span;
  }
  return now;
}
