import type { Account, Batch } from "./meter.ts";

/** So many rows are counted in at once. */
const ROWS_AT_ONCE = 10_000;

/** Rows of one shape that were released uncounted: each person is kept once, so that re-reading costs no memory. */
interface Pile {
  readonly shape: Pick<Batch, "namespaces" | "unknownPerRow" | "counts" | "cost">;
  readonly columns: readonly Set<string>[];
  rows: number;
  bytes: number;
}

/** What was released to one account while the counters were away. */
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
      pile = { shape, columns: namespaces.map(() => new Set<string>()), rows: 0, bytes: 0 };
      this.#piles.set(key, pile);
    }
    pile.rows += rows;
    for (let row = 0; row < rows; row++) pile.bytes += batch.bytes?.[row] ?? 0;
    const width = namespaces.length;
    for (let i = 0; i < rows * width; i++) {
      const person = batch.people[i];
      if (person !== undefined && person !== "") pile.columns[i % width]?.add(person);
    }
  }

  /**
   * Counts it in, a portion at a time, as long as `count` says that it did. Whatever is not certain to have
   * been counted stays owed: counted twice is too much for the reader, and never too little for the guard.
   */
  async pay(count: (batch: Batch) => Promise<boolean>): Promise<void> {
    for (const [key, pile] of this.#piles) {
      while (pile.rows > 0) {
        const rows = Math.min(pile.rows, ROWS_AT_ONCE);
        const columns = pile.columns.map((people) => [...people].slice(0, rows));
        const bytes = pile.bytes;
        if (!(await count(batchOf(pile, rows, columns, bytes)))) return;
        for (const [i, people] of columns.entries())
          for (const person of people) pile.columns[i]?.delete(person);
        // More may have been released meanwhile.
        pile.rows -= rows;
        pile.bytes -= bytes;
      }
      this.#piles.delete(key);
    }
  }
}

/** Who was read in which row no longer matters: in each column one person a row, and all bytes on the first. */
function batchOf(pile: Pile, rows: number, columns: readonly (readonly string[])[], bytes: number): Batch {
  const width = columns.length;
  const people = Array.from(
    { length: rows * width },
    (_, i) => columns[i % width]?.[Math.floor(i / width)] ?? "",
  );
  return {
    ...pile.shape,
    rows,
    people,
    bytes: Array.from({ length: rows }, (_, i) => (i === 0 ? bytes : 0)),
  };
}
