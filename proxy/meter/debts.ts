import { randomUUID } from "node:crypto";
import type { Account, Batch, Reveal } from "./meter.ts";

/** The number of rows that are counted at once. */
const ROWS_AT_ONCE = 10_000;

/** Rows of one shape that were released uncounted. Each person is kept once, so that re-reading takes no memory. */
interface Pile {
  readonly shape: Pick<Batch, "namespaces" | "unknownPerRow" | "counts" | "cost">;
  readonly columns: readonly Set<string>[];
  rows: number;
  bytes: number;
  units: number;
  /** Reveals of known people by what they are, and of unknown ones one after the other. */
  readonly reveals: Map<string, Reveal>;
  /** Sent, but not yet known to be counted: it is sent again unchanged. */
  sent: Batch | undefined;
}

/** The rows that were released to one account while the counters were unreachable. */
export class Debt {
  account: Account;
  readonly #piles = new Map<string, Pile>();

  constructor(account: Account) {
    this.account = account;
  }

  get isPaid(): boolean {
    return this.#piles.size === 0;
  }

  /** Adds the first `rows` rows of a batch. */
  add(batch: Batch, rows: number): void {
    if (rows === 0) return;
    const { namespaces, unknownPerRow, counts, cost = 1 } = batch;
    const key = [counts ?? "rows", unknownPerRow, cost, ...namespaces].join("\0");
    let pile = this.#piles.get(key);
    if (pile === undefined) {
      const shape = { namespaces, unknownPerRow, cost, ...(counts === undefined ? {} : { counts }) };
      const columns = namespaces.map(() => new Set<string>());
      pile = { shape, columns, rows: 0, bytes: 0, units: 0, reveals: new Map(), sent: undefined };
      this.#piles.set(key, pile);
    }
    // Rows granted together may be counted one by one.
    pile.rows += rows * (batch.amount ?? 1);
    for (let row = 0; row < rows; row++) {
      pile.bytes += batch.bytes?.[row] ?? 0;
      pile.units += batch.units?.[row] ?? 0;
    }
    for (const reveal of batch.reveals ?? []) {
      const { row, of, namespace, identity = `\0${pile.reveals.size}` } = reveal;
      if (row < rows) pile.reveals.set([of, namespace, identity].join("\0"), { ...reveal, row: 0 });
    }
    const width = namespaces.length;
    for (let i = 0; i < rows * width; i++) {
      const person = batch.people[i];
      if (person !== undefined && person !== "") pile.columns[i % width]?.add(person);
    }
  }

  /** Counts the debt in portions, as long as `count` confirms each one. A portion without confirmation stays owed. */
  async pay(count: (batch: Batch) => Promise<boolean>): Promise<void> {
    for (const [key, pile] of this.#piles) {
      while (pile.sent !== undefined || pile.rows > 0) {
        pile.sent ??= take(pile);
        if (!(await count(pile.sent))) return;
        pile.sent = undefined;
      }
      this.#piles.delete(key);
    }
  }
}

/**
 * Takes a portion off the pile. Which row showed which person no longer matters: each column gets one person per row.
 */
function take(pile: Pile): Batch {
  const rows = Math.min(pile.rows, ROWS_AT_ONCE);
  const columns = pile.columns.map((people) => [...people].slice(0, rows));
  for (const [i, people] of columns.entries()) for (const person of people) pile.columns[i]?.delete(person);
  const { bytes, units } = pile;
  const reveals = [...pile.reveals.values()];
  pile.reveals.clear();
  pile.rows -= rows;
  pile.bytes = 0;
  pile.units = 0;
  const width = columns.length;
  return {
    ...pile.shape,
    rows,
    people: Array.from({ length: rows * width }, (_, i) => columns[i % width]?.[Math.floor(i / width)] ?? ""),
    bytes: Array.from({ length: rows }, (_, i) => (i === 0 ? bytes : 0)),
    ...(reveals.length > 0 && { reveals }),
    ...(units > 0 && { units: Array.from({ length: rows }, (_, i) => (i === 0 ? units : 0)) }),
    receipt: randomUUID(),
  };
}
