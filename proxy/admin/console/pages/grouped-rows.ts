/** Rows that say the same, one after the other or not, as one. */
export interface Group<T> {
  /** The one that came first in the list: lists have the newest first. */
  readonly newest: T;
  readonly oldest: T;
  readonly count: number;
  /** In the order of the list. */
  readonly all: readonly T[];
}

/** Draws together what has the same key; each group stands where its newest stood. */
export function grouped<T>(items: readonly T[], keyOf: (item: T) => string): readonly Group<T>[] {
  const groups = new Map<string, [T, ...T[]]>();
  for (const item of items) {
    const key = keyOf(item);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [item]);
    else known.push(item);
  }
  return [...groups.values()].map((all) => {
    const [newest] = all;
    return { newest, oldest: all.at(-1) ?? newest, count: all.length, all };
  });
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
