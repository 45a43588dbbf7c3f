import { SLICES, SLICES_READ, type Span } from "./budget-windows.ts";

/** How much an account has read (rows, bytes, lookups), in slices of every length: see `SLICES`. */
export class AmountHistory {
  /** Amounts by slice number, ascending, one map for each length. */
  readonly #levels = new Map(SLICES.map((slice) => [slice, new Map<number, number>()] as const));

  add(amount: number, now: number): void {
    if (amount === 0) return;
    for (const [slice, buckets] of this.#levels) {
      const index = Math.floor(now / slice);
      const before = buckets.get(index);
      buckets.set(index, (before ?? 0) + amount);
      if (before === undefined) forget(buckets, slice, now - SLICES_READ * slice);
    }
  }

  /** The amount within the window, including all of a slice that the window covers only in part. */
  used({ slice, span }: Span, now: number): number {
    let used = 0;
    for (const [index, amount] of this.#buckets(slice)) {
      if (endOf(index, slice) > now - span) used += amount;
    }
    return used;
  }

  /** When `cost` more fits, as Unix time in milliseconds. */
  fitsAt(amountSpan: Span, cost: number, now: number): number {
    const { slice, span, window } = amountSpan;
    let left = this.used(amountSpan, now);
    for (const [index, amount] of this.#buckets(slice)) {
      if (endOf(index, slice) <= now - span) continue;
      left -= amount;
      if (left + cost <= window.limit || left === 0) return endOf(index, slice) + span;
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
    if (buckets === undefined) throw new Error(`nothing is counted by slices of ${slice} ms`);
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
