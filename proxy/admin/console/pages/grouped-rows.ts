/** Rows that say the same, one after the other or not, as one. */
export interface Group<T> {
  /** The one that came first in the list: lists have the newest first. */
  readonly newest: T;
  readonly oldest: T;
  readonly count: number;
}

/** Draws together what has the same key; each group stands where its newest stood. */
export function grouped<T>(items: readonly T[], keyOf: (item: T) => string): readonly Group<T>[] {
  const groups = new Map<string, Group<T>>();
  for (const item of items) {
    const key = keyOf(item);
    const known = groups.get(key);
    groups.set(
      key,
      known === undefined
        ? { newest: item, oldest: item, count: 1 }
        : { ...known, oldest: item, count: known.count + 1 },
    );
  }
  return [...groups.values()];
}

/** Draws together only what follows each other: the order of the list stays. */
export function inARow<T>(items: readonly T[], keyOf: (item: T) => string): readonly Group<T>[] {
  let run = 0;
  let last: string | undefined;
  return grouped(items, (item) => {
    const key = keyOf(item);
    if (key !== last) run += 1;
    last = key;
    return `${run} ${key}`;
  });
}
