import type { BudgetWindow } from "../policy/policy.ts";

/** One window of people as the stores count it, in milliseconds. */
export interface PeopleSpan {
  readonly window: BudgetWindow;
  /** The window and its grace: see `graceOf`. */
  readonly span: number;
}

/** One window of rows as the stores count it, in milliseconds. */
export interface RowsSpan {
  readonly window: BudgetWindow;
  readonly span: number;
  /** Rows are counted by slices of this length; one of `ROW_SLICES`. */
  readonly slice: number;
}

/** A budget as the stores count it. */
export interface Spans {
  readonly people: readonly PeopleSpan[];
  readonly rows: readonly RowsSpan[];
  /** After so many milliseconds none of these windows asks for a person or a row again. */
  readonly keep: number;
}

/** The longest time for which a counted person may be read again without a trip to the store. */
const LONGEST_GRACE = 5_000;

export const FINEST_SLICE = 64;
export const SLICE_FACTOR = 4;
export const SLICE_LEVELS = 14;

/**
 * Rows are added to a bucket at every one of these lengths (64 ms to 50 days), so that windows of any
 * length, of two roles of one user or of an edited policy, find what was read before they were known.
 * A window reads the coarsest slices that are at most a sixtieth of it (64 ms at the least) and counts the
 * one that it covers only in part as a whole: rows are held up to one slice too long, never too short.
 */
export const ROW_SLICES: readonly number[] = Array.from(
  { length: SLICE_LEVELS },
  (_, level) => FINEST_SLICE * SLICE_FACTOR ** level,
);

/** No window reads more slices of one length than this: a window of 240 slices takes the next length. */
export const SLICES_READ = 60 * SLICE_FACTOR + 1;

const known = new WeakMap<readonly BudgetWindow[], Spans>();

/** The windows in milliseconds; made once for each list of windows. */
export function spansOf(windows: readonly BudgetWindow[]): Spans {
  let spans = known.get(windows);
  if (spans === undefined) {
    spans = measure(windows);
    known.set(windows, spans);
  }
  return spans;
}

/**
 * For how long a session may release a counted person again without telling the store. The store counts
 * each window longer by this, so that his true last read is always covered: a person is held at most
 * this much longer than the window says, and never shorter.
 */
export function graceOf(windows: readonly BudgetWindow[]): number {
  const spans = windows.filter((window) => window.what === "people").map((window) => window.seconds * 1000);
  return spans.length === 0 ? 0 : Math.min(LONGEST_GRACE, Math.floor(Math.min(...spans) / 10));
}

function measure(windows: readonly BudgetWindow[]): Spans {
  const grace = graceOf(windows);
  const people: PeopleSpan[] = [];
  const rows: RowsSpan[] = [];
  for (const window of windows) {
    const span = window.seconds * 1000;
    if (window.what === "people") people.push({ window, span: span + grace });
    else rows.push({ window, span, slice: sliceOf(span) });
  }
  const keep = Math.max(0, ...people.map((each) => each.span), ...rows.map((each) => each.span + each.slice));
  return { people, rows, keep };
}

function sliceOf(span: number): number {
  return ROW_SLICES.findLast((slice) => slice <= span / 60) ?? FINEST_SLICE;
}
