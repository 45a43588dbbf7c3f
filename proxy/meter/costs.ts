import type { Batch } from "./meter.ts";

/*
 * A person who counts as five is kept as five units, each with the time of its own last read. A read at cost n touches
 * the first n of them. Within any window the number of live units is thus the cost of the most expensive read of that
 * person: a person read at cost one and then at cost five counts as five while the second read lies within the window,
 * and as one after that. Counters need no special handling, and no two proxies can disagree.
 */

const ONE: readonly (readonly string[])[] = [[]];
const known = new Map<number, readonly (readonly string[])[]>([[1, ONE]]);

/** How many people each person of the batch counts as. */
export function costOf({ cost }: Batch): number {
  return cost ?? 1;
}

/** The suffix of a person's name for each of their units. The first unit has the plain name. */
export function unitsOf(batch: Batch): readonly (readonly string[])[] {
  const cost = costOf(batch);
  let units = known.get(cost);
  if (units === undefined) {
    units = Array.from({ length: cost }, (_, i) => (i === 0 ? [] : [String(i + 1)]));
    known.set(cost, units);
  }
  return units;
}
