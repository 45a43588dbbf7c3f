/** Of an empty list NaN: a figure that was not measured shows as such. */
export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** The figure below which `share` of them are. */
export function percentile(figures: readonly number[], share: number): number {
  const sorted = figures.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** One figure a round. */
export type Series = readonly number[];

/** Round by round: what disturbs a round disturbs both figures. */
export function ratios(series: Series, base: Series): Series {
  return series.flatMap((figure, round) => {
    const other = base[round];
    return other === undefined ? [] : [figure / other];
  });
}

/** The median and, of several rounds, the lowest and the highest figure. */
export function withSpread(series: Series, digits: number): string {
  if (series.length === 0) return "–";
  const middle = median(series).toFixed(digits);
  if (series.length === 1) return middle;
  return `${middle} (${Math.min(...series).toFixed(digits)}–${Math.max(...series).toFixed(digits)})`;
}

/** A table of Markdown, which reads as well on a terminal. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, column) => (cells[column] ?? "").padEnd(width)).join(" | ")} |`;
  return [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...rows.map(line)].join(
    "\n",
  );
}
