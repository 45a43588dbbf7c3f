import { ROW_SLICES, type RowsSpan, SLICES_READ } from "./windows.ts";

/** The rows that one user read, by slices of every length: see `ROW_SLICES`. */
export class RowHistory {
  /** Rows by slice number, ascending, one map for each length. */
  readonly #levels = new Map(ROW_SLICES.map((slice) => [slice, new Map<number, number>()] as const));

  add(rows: number, now: number): void {
    if (rows === 0) return;
    for (const [slice, buckets] of this.#levels) {
      const index = Math.floor(now / slice);
      const before = buckets.get(index);
      buckets.set(index, (before ?? 0) + rows);
      if (before === undefined) forget(buckets, slice, now - SLICES_READ * slice);
    }
  }

  /** Rows within the window, and those of the slice that it covers only in part. */
  used({ slice, span }: RowsSpan, now: number): number {
    let used = 0;
    for (const [index, rows] of this.#buckets(slice)) {
      if (endOf(index, slice) > now - span) used += rows;
    }
    return used;
  }

  /** When one row more fits. */
  fitsAt(rowsSpan: RowsSpan, now: number): number {
    const { slice, span, window } = rowsSpan;
    let left = this.used(rowsSpan, now);
    for (const [index, rows] of this.#buckets(slice)) {
      if (endOf(index, slice) <= now - span) continue;
      left -= rows;
      if (left + 1 <= window.limit || left === 0) return endOf(index, slice) + span;
    }
    return now;
  }

  forgetBefore(time: number): void {
    for (const [slice, buckets] of this.#levels) forget(buckets, slice, time);
  }

  get empty(): boolean {
    for (const buckets of this.#levels.values()) if (buckets.size > 0) return false;
    return true;
  }

  #buckets(slice: number): ReadonlyMap<number, number> {
    const buckets = this.#levels.get(slice);
    if (buckets === undefined) throw new Error(`no rows are counted by slices of ${slice} ms`);
    return buckets;
  }
}

function endOf(index: number, slice: number): number {
  return (index + 1) * slice;
}

function forget(buckets: Map<number, number>, slice: number, before: number): void {
  for (const index of buckets.keys()) {
    if (endOf(index, slice) > before) return;
    buckets.delete(index);
  }
}
