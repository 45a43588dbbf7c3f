import type { Batch } from "./meter.ts";

/*
 * A person who counts for five is kept as five units, each with the time of its own last read. A read at cost n
 * touches the first n of them. So within any window so many units are alive as the dearest read of him in that
 * window cost: who was read for one and then for five counts for five, as long as the dear read lies within the
 * window, and for one after that. Counters need to know nothing of it, and no two proxies can disagree.
 */

const ONE: readonly (readonly string[])[] = [[]];
const known = new Map<number, readonly (readonly string[])[]>([[1, ONE]]);

/** For how many people each person of the batch counts. */
export function costOf({ cost }: Batch): number {
  return cost ?? 1;
}

/** What stands behind a person's name in each of his units. The first one is the person as he always was. */
export function unitsOf(batch: Batch): readonly (readonly string[])[] {
  const cost = costOf(batch);
  let units = known.get(cost);
  if (units === undefined) {
    units = Array.from({ length: cost }, (_, i) => (i === 0 ? [] : [String(i + 1)]));
    known.set(cost, units);
  }
  return units;
}
