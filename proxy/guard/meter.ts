import type { BudgetWindow, Role } from "../policy/policy.ts";
import type { Refusal } from "../wire/refusal.ts";

/** Whose reading is counted, and against what. */
export interface Account {
  readonly database: string;
  readonly user: string;
  /** Of windows of scope "role" and "address"; without them all share one count: stricter, never laxer. */
  readonly role?: string;
  readonly address?: string;
  readonly windows: readonly BudgetWindow[];
  /** The share of each budget that this process may release while the counters are away; none if left out. */
  readonly graceShare?: number;
}

/** Who reads, from where. */
export interface Reader {
  readonly database: string;
  readonly user: string;
  /** IP address. */
  readonly address: string;
}

/** The account of a session's user in his role. */
export function accountOf(role: Role, { database, user, address }: Reader): Account {
  return {
    database,
    user,
    role: role.name,
    address,
    windows: role.budget,
    ...(role.graceShare === undefined ? {} : { graceShare: role.graceShare }),
  };
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
  /** For how many people each person counts, known or not; 1 if left out. */
  readonly cost?: number;
  /** The size of each row; needed where a window counts bytes: without it nothing is released. */
  readonly bytes?: readonly number[];
  /** What each row costs beside, in units of which `PERSON` make a person (`prices.ts`). */
  readonly units?: readonly number[];
  /**
   * What each row stands for: a row of a result (if left out), one exact look-up, one changed row, or the price of an
   * execution, which is no row at all.
   */
  readonly counts?: "rows" | "lookups" | "changes" | "price";
  /** For how many each row stands, so that they are counted together or not at all; 1 if left out. Of changes alone. */
  readonly amount?: number;
  /** A batch that may have been counted although no answer came: sent again under this name, it counts once. */
  readonly receipt?: string;
}

/** What an execution costs, whatever rows it gives. */
export interface Price {
  /** The people whom it is about, where that is known before it runs, and the name space of each. */
  readonly people: readonly string[];
  readonly namespaces: readonly string[];
  /** See `prices.ts`. */
  readonly units: number;
  /** For how many people each of `people` counts; 1 if left out. */
  readonly cost?: number;
}

/** How full a window is. */
export interface WindowUse {
  readonly window: BudgetWindow;
  readonly used: number;
  /** Of people, as `usage` has it: units beside them that make no person yet. */
  readonly fraction?: number;
}

/** Told what an account has used of its windows, after each charge that went to the store. */
export type OnUsed = (account: Account, uses: readonly WindowUse[]) => void;

/** How much of a batch may leave. */
export type Grant =
  | {
      readonly kind: "all";
      /** Windows of which four fifths or more are used up; left out where there are none. */
      readonly near?: readonly WindowUse[];
    }
  | {
      readonly kind: "part";
      /** Leading rows that are counted and may leave; the rest is not counted. */
      readonly rows: number;
      readonly window: BudgetWindow;
      readonly used: number;
      /** Unix time in milliseconds at which at least one more fits. */
      readonly freesAt: number;
      /** The window is the share of it that this process may release while the counters are away. */
      readonly isLent?: true;
      readonly near?: readonly WindowUse[];
    }
  /** The counters cannot be reached: nothing may leave. */
  | { readonly kind: "unreachable" };

/** Counts people and rows per account over sliding windows; one store serves all sessions of a process. */
export interface CounterStore {
  /** Counts the longest run of leading rows that fits all windows, atomically. Never rejects. */
  charge(account: Account, batch: Batch): Promise<Grant>;
  /** What is used of each window, counting nothing; undefined while the counters cannot be reached. */
  usage?(account: Account): Promise<readonly WindowUse[] | undefined>;
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
  /** Counts exact look-ups before the statement that makes them runs, and changed rows before they are committed. */
  amount(what: "lookups" | "changes", count: number): Grant | Promise<Grant>;
  /** Counts what an execution costs beside its rows. "all" at once when it names only people counted a moment ago. */
  price(price: Price): Grant | Promise<Grant>;
  /** What the user's last answer to a question was, if it is remembered; see session/repeats.ts. */
  recall(question: string): string | undefined;
  remember(question: string, answer: string): void;
  /** What the client should be told since it was last asked: once when four fifths of a budget are used up. */
  takeWarning(): Refusal | undefined;
}
