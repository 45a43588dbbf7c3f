import { type BudgetWindow, type Role, windowsOf } from "../policy/policy.ts";
import type { Refusal } from "../wire/refusal.ts";

/** The account whose reading is counted, and its limits. */
export interface Account {
  readonly database: string;
  readonly user: string;
  /**
   * Needed for windows of scope "role" and "address". If absent all accounts share one count: stricter, never laxer.
   */
  readonly role?: string;
  readonly address?: string;
  readonly windows: readonly BudgetWindow[];
  /** The share of each budget that this process may release while the counters are unreachable; none if absent. */
  readonly graceShare?: number;
}

/** A user and where they connect from. */
export interface Reader {
  readonly database: string;
  readonly user: string;
  /** IP address. */
  readonly address: string;
}

/** The account of a session's user in their role. */
export function accountOf(role: Role, { database, user, address }: Reader): Account {
  return {
    database,
    user,
    role: role.name,
    address,
    windows: windowsOf(role),
    ...(role.graceShare === undefined ? {} : { graceShare: role.graceShare }),
  };
}

/** A person whose value of a class a row shows, because a token was turned back. */
export interface Reveal {
  readonly row: number;
  /** The class. */
  readonly of: string;
  readonly namespace: string;
  /** Undefined for someone unknown, who counts as a new person. */
  readonly identity: string | undefined;
}

/** Rows that wait for release, column by column so that a row needs no object. */
export interface Batch {
  readonly rows: number;
  /** `rows × namespaces.length` identities, row by row; "" if a subject is NULL (it counts no person). */
  readonly people: readonly string[];
  /** The name space of each identity in a row. */
  readonly namespaces: readonly string[];
  /** The number of unknown people in each row: each counts as a new person. */
  readonly unknownPerRow: number;
  /** How many people each person counts as, known or not; 1 if absent. */
  readonly cost?: number;
  /** The size of each row in bytes; required if a window counts bytes: without it nothing is released. */
  readonly bytes?: readonly number[];
  /** The additional cost of each row, in units of which `PERSON` make a person (`prices.ts`). */
  readonly units?: readonly number[];
  /** In the order of the rows. Only classes that a window counts matter. */
  readonly reveals?: readonly Reveal[];
  /**
   * What each row is: a row of a result (if absent), one exact lookup, one changed row, or the price of an execution,
   * which is not a row.
   */
  readonly counts?: "rows" | "lookups" | "changes" | "price";
  /** How many items each row counts as, all or none of which are counted; 1 if absent. For changes only. */
  readonly amount?: number;
  /** Names a batch that may have been counted although no answer arrived: sent again with this name, it counts once. */
  readonly receipt?: string;
}

/** The cost of an execution, whatever rows it returns. */
export interface Price {
  /** The people it is about, if known before it runs, and the name space of each. */
  readonly people: readonly string[];
  readonly namespaces: readonly string[];
  /** In units: see `prices.ts`. */
  readonly units: number;
  /** How many people each of `people` counts as; 1 if absent. */
  readonly cost?: number;
}

/** How full a window is. */
export interface WindowUse {
  readonly window: BudgetWindow;
  readonly used: number;
  /** For people, in results of `usage`: additional units that do not make a person yet. */
  readonly fraction?: number;
}

/** Called with an account's use of its windows after each charge that the store made. */
export type OnUsed = (account: Account, uses: readonly WindowUse[]) => void;

/** How much of a batch may leave. */
export type Grant =
  | {
      readonly kind: "all";
      /** Windows of which at least four fifths are used up; absent if none. */
      readonly near?: readonly WindowUse[];
    }
  | {
      readonly kind: "part";
      /** The number of leading rows that are counted and may leave; the rest is not counted. */
      readonly rows: number;
      readonly window: BudgetWindow;
      readonly used: number;
      /** Unix time in milliseconds when at least one more fits. */
      readonly freesAt: number;
      /** The window is the share that this process may release while the counters are unreachable. */
      readonly isLent?: true;
      readonly near?: readonly WindowUse[];
    }
  /** The counters are unreachable: nothing may leave. */
  | { readonly kind: "unreachable" };

/** Counts people and rows per account in sliding windows; one store serves all sessions of a process. */
export interface CounterStore {
  /** Counts the longest run of leading rows that fits all windows, atomically. Never rejects. */
  charge(account: Account, batch: Batch): Promise<Grant>;
  /** The budgets by which it counts an account: with an operator's grants, for one. Those of the account if left out. */
  windowsOf?(account: Account): readonly BudgetWindow[];
  /** The current use of each window, without counting; undefined while the counters are unreachable. */
  usage?(account: Account): Promise<readonly WindowUse[] | undefined>;
  /** False while the counters are unreachable. */
  readonly ready: boolean;
  close(): Promise<void>;
}

/**
 * One session's view of the store: remembers the people this account counted recently, so that reading them again needs
 * no round trip.
 */
export interface Meter {
  /** The budgets by which it counts now, in the order of the account's own. */
  readonly windows: readonly BudgetWindow[];
  /** Returns "all" synchronously if nothing in the batch needs a round trip. */
  charge(batch: Batch): Grant | Promise<Grant>;
  /** Counts exact lookups before their statement runs, and changed rows before they are committed. */
  amount(what: "lookups" | "changes", count: number): Grant | Promise<Grant>;
  /**
   * Counts the cost of an execution beyond its rows. Returns "all" synchronously if it names only people counted a
   * moment ago.
   */
  price(price: Price): Grant | Promise<Grant>;
  /** The user's last answer to a question, if remembered; see session/statement/repeats.ts. */
  recall(question: string): string | undefined;
  remember(question: string, answer: string): void;
  /** The next notice for the client: given once when four fifths of a budget are used up. */
  takeWarning(): Refusal | undefined;
}
