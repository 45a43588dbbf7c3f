import type { BudgetWindow } from "../policy/policy.ts";
import type { Batch } from "./meter.ts";

/** Whose reading a window adds up. */
export type BudgetScope = NonNullable<BudgetWindow["scope"]>;

/** One window in the form that the stores use, in milliseconds. */
export interface Span {
  readonly window: BudgetWindow;
  /** Index of its scope in `Spans.scopes`. */
  readonly scope: number;
  /** For people, and people of reveals: the window plus its grace, see `graceOf`. */
  readonly span: number;
  /** 0 for these; otherwise the length of the slices that amounts are counted in, one of `SLICES`. */
  readonly slice: number;
}

/** A budget in the form that the stores use. */
export interface Spans {
  /** The windows of people come first, those of reveals among them. */
  readonly windows: readonly Span[];
  readonly scopes: readonly {
    readonly scope: BudgetScope;
    /** The class whose reveals it counts, apart from all else. */
    readonly of?: string;
    /** After this many milliseconds none of its windows needs a person or an amount any more. */
    readonly keep: number;
  }[];
  readonly countsPeople: boolean;
  readonly countsBytes: boolean;
}

/**
 * The longest time for which a counted person may be read again without a round trip to the store, in milliseconds: for
 * long windows, and for short ones.
 */
const LONGEST_GRACE = 60_000;
const SHORT_GRACE = 5_000;

export const FINEST_SLICE = 64;
export const SLICE_FACTOR = 4;
export const SLICE_LEVELS = 14;

/**
 * Amounts are added to a bucket at every one of these lengths (64 ms to 50 days), so that windows of any length, of two
 * roles of one user or of an edited policy, include what was read before they existed. A window reads the coarsest
 * slices that are at most a sixtieth of it (at least 64 ms), and counts all of a slice that it covers only in part:
 * amounts are held for up to one slice too long, never too short.
 */
export const SLICES: readonly number[] = Array.from(
  { length: SLICE_LEVELS },
  (_, level) => FINEST_SLICE * SLICE_FACTOR ** level,
);

/** No window reads more slices of one length than this: a window of 240 slices uses the next length. */
export const SLICES_READ = 60 * SLICE_FACTOR + 1;

const known = new WeakMap<readonly BudgetWindow[], Spans>();

/** The windows in milliseconds; calculated once for each list of windows. */
export function spansOf(windows: readonly BudgetWindow[]): Spans {
  let spans = known.get(windows);
  if (spans === undefined) {
    spans = measure(windows);
    known.set(windows, spans);
  }
  return spans;
}

/**
 * How long a session may release a counted person again without telling the store, in milliseconds. The store counts
 * each window longer by this time, so that the true last read is always covered: a person is held at most this much
 * longer than the window says, and never shorter.
 */
export function graceOf(windows: readonly BudgetWindow[]): number {
  const spans = windows.filter(countsPersons).map((window) => window.seconds * 1000);
  if (spans.length === 0) return 0;
  const shortest = Math.min(...spans);
  const grace = Math.max(shortest / 60, Math.min(SHORT_GRACE, shortest / 10));
  return Math.floor(Math.min(LONGEST_GRACE, grace));
}

/** Rows of unknown size cannot be counted by bytes, so none of them is released. */
export function lacksBytes({ countsBytes }: Spans, { counts, bytes }: Batch): boolean {
  return countsBytes && (counts ?? "rows") === "rows" && bytes === undefined;
}

export function scopeOf(window: BudgetWindow): BudgetScope {
  return window.scope ?? "user";
}

/** Whether a window counts distinct people, and not an amount. */
export function countsPersons({ what }: BudgetWindow): boolean {
  return what === "people" || what === "reveals";
}

function measure(windows: readonly BudgetWindow[]): Spans {
  const grace = graceOf(windows);
  const keyOf = (window: BudgetWindow) => `${scopeOf(window)} ${window.of ?? ""}`;
  const scopes = [...new Map(windows.map((window) => [keyOf(window), window]))];
  const spans = windows.map((window): Span => {
    const scope = scopes.findIndex(([key]) => key === keyOf(window));
    const span = window.seconds * 1000;
    return countsPersons(window)
      ? { window, scope, span: span + grace, slice: 0 }
      : { window, scope, span, slice: sliceOf(span) };
  });
  return {
    windows: spans.toSorted((a, b) => Number(a.slice > 0) - Number(b.slice > 0)),
    scopes: scopes.map(([, window], i) => ({
      scope: scopeOf(window),
      ...(window.of !== undefined && { of: window.of }),
      keep: Math.max(...spans.filter((each) => each.scope === i).map((each) => each.span + each.slice)),
    })),
    countsPeople: windows.some((window) => window.what === "people"),
    countsBytes: windows.some((window) => window.what === "bytes"),
  };
}

function sliceOf(span: number): number {
  return SLICES.findLast((slice) => slice <= span / 60) ?? FINEST_SLICE;
}
