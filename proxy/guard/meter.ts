import type { BudgetWindow } from "../policy/policy.ts";

/** Whose reading is counted, and against what. */
export interface Account {
  readonly database: string;
  readonly user: string;
  readonly windows: readonly BudgetWindow[];
}

/** Rows that wait for release, column by column so that a row costs no object. */
export interface Batch {
  readonly rows: number;
  /** `rows × namespaces.length` identities, row by row; "" where a subject is NULL (it counts no person). */
  readonly people: readonly string[];
  /** The name space of each of a row's identities. */
  readonly namespaces: readonly string[];
  /** Unknown persons in each row: each counts as somebody new. */
  readonly unknownPerRow: number;
}

/** How much of a batch may leave. */
export type Grant =
  | { readonly kind: "all" }
  | {
      readonly kind: "part";
      /** Leading rows that are counted and may leave; the rest is not counted. */
      readonly rows: number;
      readonly window: BudgetWindow;
      readonly used: number;
      /** Unix time in milliseconds at which at least one more fits. */
      readonly freesAt: number;
    }
  /** The counters cannot be reached: nothing may leave. */
  | { readonly kind: "unreachable" };

/** Counts people and rows per account over sliding windows; one store serves all sessions of a process. */
export interface CounterStore {
  /** Counts the longest run of leading rows that fits all windows, atomically. Never rejects. */
  charge(account: Account, batch: Batch): Promise<Grant>;
  /** False while the counters cannot be reached. */
  readonly ready: boolean;
  close(): Promise<void>;
}

/**
 * One session's view of the store: remembers whom this account counted a moment ago, so that reading them
 * again costs no trip.
 */
export interface Meter {
  /** "all" at once when nothing of the batch needs a trip. */
  charge(batch: Batch): Grant | Promise<Grant>;
}
