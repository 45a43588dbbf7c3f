/*
 * Statistics that a few thieves, a holiday or one wild day cannot pull along: medians in place of means
 * (Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", 1993).
 */

export function median(values: readonly number[]): number {
  if (values.length === 0) return 0;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** The median absolute deviation, scaled so that it is the standard deviation of normal values. */
export function spread(values: readonly number[]): number {
  const middle = median(values);
  return 1.4826 * median(values.map((value) => Math.abs(value - middle)));
}

/** Past this a value is far from all of these. */
export function farAbove(values: readonly number[], spreads: number): number {
  return median(values) + spreads * spread(values);
}
