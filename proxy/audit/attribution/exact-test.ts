/** People of one cell: alike in all that the test holds equal. */
export interface Cell {
  /** Leaked people and controls together, and how many of them leaked. */
  readonly size: number;
  readonly leaked: number;
  /** How many of them the user read, and how many of these leaked. */
  readonly read: number;
  readonly both: number;
}

/**
 * Whether a user read more of the leaked people than of people who are like them, by the exact conditional test of Fisher
 * (1934) for several tables (Gart, "Point and interval estimation of the common odds ratio", Biometrika 57, 1970): if the
 * leak has nothing to do with the user, then within each cell the leaked ones among all whom the user read are
 * hypergeometrically distributed, and their sum over the cells is the convolution. Nothing is estimated, so few people and
 * few controls make it weak and never wrong.
 */
export interface Tail {
  /** The chance of as many leaked people among the user's, or more. */
  readonly p: number;
  /** The smallest value that `p` could have, whatever leaked: all of the user's people that can be. */
  readonly least: number;
}

export function exactTail(cells: readonly Cell[]): Tail {
  let [distribution, offset, both]: [Float64Array, number, number] = [Float64Array.of(1), 0, 0];
  for (const cell of cells) {
    both += cell.both;
    if (cell.leaked === 0 || cell.read === 0) continue;
    const { values, from } = hypergeometric(cell);
    distribution = convolved(distribution, values);
    offset += from;
  }
  let p = 0;
  for (let i = distribution.length - 1; i >= Math.max(0, both - offset); i--) p += distribution[i] ?? 0;
  return { p: Math.min(1, p), least: distribution.at(-1) ?? 1 };
}

/** How many of the leaked people the user would have read, if the leak had nothing to do with them. */
export function expectedOf(cells: readonly Cell[]): number {
  let sum = 0;
  for (const { size, leaked, read } of cells) if (size > 0) sum += (leaked * read) / size;
  return sum;
}

function hypergeometric({ size, leaked, read }: Cell): {
  readonly values: Float64Array;
  readonly from: number;
} {
  const [from, to] = [Math.max(0, leaked + read - size), Math.min(leaked, read)];
  const values = new Float64Array(to - from + 1);
  const all = logChoose(size, read);
  for (let k = from; k <= to; k++)
    values[k - from] = Math.exp(logChoose(leaked, k) + logChoose(size - leaked, read - k) - all);
  return { values, from };
}

function convolved(a: Float64Array, b: Float64Array): Float64Array {
  if (a.length === 1 && a[0] === 1) return b;
  const sum = new Float64Array(a.length + b.length - 1);
  for (const [i, x] of a.entries())
    if (x > 0) for (let j = 0; j < b.length; j++) sum[i + j] = (sum[i + j] ?? 0) + x * (b[j] ?? 0);
  return sum;
}

export function logChoose(of: number, choose: number): number {
  if (choose < 0 || choose > of) return Number.NEGATIVE_INFINITY;
  return logFactorial(of) - logFactorial(choose) - logFactorial(of - choose);
}

let factorials = new Float64Array(2);

function logFactorial(n: number): number {
  if (n >= factorials.length) {
    const more = new Float64Array(Math.max(n + 1, 2 * factorials.length));
    more.set(factorials);
    for (let i = factorials.length; i < more.length; i++) more[i] = (more[i - 1] ?? 0) + Math.log(i);
    factorials = more;
  }
  return factorials[n] ?? 0;
}
