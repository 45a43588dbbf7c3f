/*
 * Statistics that a few thieves, a holiday or one exceptional day cannot distort: medians in place of means (Rousseeuw
 * and Croux, "Alternatives to the Median Absolute Deviation", 1993).
 */

export function median(values: readonly number[]): number {
  if (values.length === 0) return 0;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** The median absolute deviation, scaled to equal the standard deviation for normal values. */
export function spread(values: readonly number[]): number {
  const middle = median(values);
  return 1.4826 * median(values.map((value) => Math.abs(value - middle)));
}

/** Values above this are far from the given ones. */
export function farAbove(values: readonly number[], spreads: number): number {
  return median(values) + spreads * spread(values);
}
