/** What a session of a guarded user has received, to be held against the audit log and the counters. */
export interface SessionRecord {
  /** Its application_name, which no other session has. */
  readonly application: string;
  readonly user: string;
  /** Answers without an error, by the kind of work, which stands in the statement's text. */
  readonly answered: Record<string, number>;
  /** Who was in them, and in those that were cut short. */
  readonly people: Set<number>;
  /** Who came out by COPY, whose rows name nobody in the log. */
  readonly copied: Set<number>;
}

/** An error that the work did not ask for, or the loss of a session. */
export interface Incident {
  /** Unix time in milliseconds. */
  readonly time: number;
  /** SQLSTATE, "none" for a connection that broke without a word, or an error of the network. */
  readonly code: string;
  readonly lost: boolean;
  readonly work: string;
  readonly text: string;
}

/** All that the clients of one process saw. */
export interface Ledger {
  readonly sessions: SessionRecord[];
  /** Sessions opened, those of the application too. */
  opened: number;
  /** Right answers and expected errors by kind of work. */
  readonly done: Record<string, number>;
  readonly incidents: Incident[];
  /** Answers that are not right. */
  readonly wrong: string[];
  readonly leaks: string[];
  /** Markers that must be in the table at the end, and that must not. */
  readonly committed: string[];
  readonly rolledBack: string[];
  /** Milliseconds, of one piece of work in ten. */
  readonly times: number[];
  /** The longest time in which one client got nothing done, in milliseconds. */
  longestGap: number;
}

export function emptyLedger(): Ledger {
  return {
    sessions: [],
    opened: 0,
    done: {},
    incidents: [],
    wrong: [],
    leaks: [],
    committed: [],
    rolledBack: [],
    times: [],
    longestGap: 0,
  };
}

export function merged(ledgers: readonly Ledger[]): Ledger {
  const done: Record<string, number> = {};
  for (const each of ledgers) {
    for (const [work, times] of Object.entries(each.done)) done[work] = (done[work] ?? 0) + times;
  }
  return {
    done,
    sessions: ledgers.flatMap((each) => each.sessions),
    opened: ledgers.reduce((sum, each) => sum + each.opened, 0),
    incidents: ledgers.flatMap((each) => each.incidents).toSorted((a, b) => a.time - b.time),
    wrong: ledgers.flatMap((each) => each.wrong),
    leaks: ledgers.flatMap((each) => each.leaks),
    committed: ledgers.flatMap((each) => each.committed),
    rolledBack: ledgers.flatMap((each) => each.rolledBack),
    times: ledgers.flatMap((each) => each.times),
    longestGap: Math.max(0, ...ledgers.map((each) => each.longestGap)),
  };
}
