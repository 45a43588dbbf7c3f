import type { Revealed } from "../sql/verdict.ts";

/** The command of a text without statements. */
export const EMPTY_QUERY = "EMPTY";

/** One decision about one statement, as it is written to the log: no literal, parameter or protected value. */
export interface StatementEvent {
  readonly kind: "statement";
  /** Unix time, milliseconds. */
  readonly time: number;
  readonly session: string;
  /** Who reads: the database user, or the person for whom an application reads. */
  readonly user: string;
  /** The database user of the application, where the reader is another person. */
  readonly account?: string;
  readonly role: string;
  readonly database: string;
  /** IP address, or "local". */
  readonly client: string;
  readonly application: string;
  readonly command: string;
  /** Literals replaced by $n; empty when the text could not be parsed. */
  readonly statement: string;
  /** The trace and span that a comment of the text names (W3C Trace Context); of one execution only. */
  readonly traceparent?: string;
  readonly relations: readonly string[];
  /** What is read with these: relations that views are made from, and their relatives by inheritance. */
  readonly beneath?: readonly string[];
  /** It may have read others: by code that it ran, from a cursor, in a part of its text that nobody has read. */
  readonly readsMore?: true;
  readonly masked: readonly string[];
  /** Left out of what a role that sees all runs: nobody looks at what it names. */
  readonly revealed?: Revealed;
  readonly lookups: number;
  /** By class: of how many people tokens were turned back, in sessions whose statements are judged; absent if of none. */
  readonly reveals?: Readonly<Record<string, number>>;
  /** `observe`: would have been refused or rewritten, was let through. */
  readonly decision: "allow" | "mask" | "refuse" | "cut" | "observe";
  readonly sqlstate?: string;
  readonly rule?: string;
  /** The reference that the client got with the error. */
  readonly reference?: string;
  readonly policy: string;
  readonly rows: number;
  readonly bytes: number;
  /** How many rows it wrote, where its tag says so; of one that was stopped for it, how many it would have written. */
  readonly rowsWritten?: number;
  /** Keyed hashes of the people read (never the values), at most 5,000; `people` has the number. */
  readonly subjects: readonly string[];
  readonly people: number;
  /** Not all whom it showed could be named: `people` counts those by the size of the rows. */
  readonly uncounted?: true;
  /** Where `subjects` are named: `public.customers.id`. */
  readonly namespaces?: readonly string[];
  /** How many of them have nothing to do with the reader's work; left out where that was not asked. */
  readonly purposeless?: number;
  /** One character for each of `subjects`: "1" where nothing ties them to the reader's work, else "0". Left out like `purposeless`. */
  readonly unexplained?: string;
  /** Milliseconds from the client's message to the end of the reply; of several executions the sum. */
  readonly duration: number;
  /** How often it was run, where one event speaks of several executions in a row: all sums are of all of them. */
  readonly count?: number;
  /** Of several executions: when the first of them had ended, Unix time in milliseconds. */
  readonly startTime?: number;
}

/** Rows of a statement that still runs: they leave in pieces, and each is on record first. Its own event has the sums. */
export interface RowsEvent extends Omit<StatementEvent, "kind"> {
  readonly kind: "rows";
}

export interface SessionEvent {
  readonly kind: "login" | "logout" | "login refused";
  readonly time: number;
  readonly session: string;
  readonly user: string;
  readonly role: string;
  readonly database: string;
  readonly client: string;
  readonly application: string;
  readonly sqlstate?: string;
  /** As in `StatementEvent`. */
  readonly reference?: string;
}

export interface PolicyEvent {
  readonly kind: "policy loaded" | "policy rejected";
  readonly time: number;
  readonly policy: string;
  readonly problems: number;
  /** Of a policy that was loaded: where people are named, with the tables whose rows are theirs, and the classes of columns. */
  readonly namespaces?: readonly Namespace[];
  readonly classes?: readonly string[];
  /** What it says, a line each, without decoys. */
  readonly says?: readonly string[];
}

/** A database's foreign keys name people elsewhere than was said before. */
export interface CatalogEvent {
  readonly kind: "catalog read";
  readonly time: number;
  /** The policy in force. */
  readonly policy: string;
  readonly namespaces: readonly Namespace[];
}

/** The people of a table, `public.customers.id`, and the tables that lead to them. */
export interface Namespace {
  readonly name: string;
  readonly tables: readonly string[];
}

/** What operators and rules order for a user. */
export const MEASURE_KINDS = [
  "suspension",
  "resumption",
  "tightening",
  "relaxation",
  "grant",
  "revocation",
] as const;

/** An order for a user. Each process writes it when it learns of it. */
export interface MeasureEvent {
  readonly kind: (typeof MEASURE_KINDS)[number];
  readonly time: number;
  readonly user: string;
  /** Who ordered it: an operator's name, or a rule's. */
  readonly by: string;
  readonly why: string;
  /** Unix time in milliseconds. */
  readonly ordered: number;
  readonly until?: number;
}

/** Someone should look at a user: a behaviour rule matched, or they read a decoy. */
export interface AlertEvent {
  readonly kind: "alert";
  readonly time: number;
  readonly id: string;
  readonly rule: string;
  readonly action: string;
  readonly user: string;
  readonly role: string;
  readonly database: string;
  readonly client: string;
  readonly text: string;
  /** "high" if left out. */
  readonly severity?: "info" | "low" | "medium" | "high" | "critical";
  /** The application's own user, where it read for the user. */
  readonly account?: string;
  /** Where one statement is to blame. */
  readonly session?: string;
  readonly application?: string;
  /** Of a decoy: its hash, and the group that it was made for. */
  readonly canary?: { readonly subject: string; readonly group: string };
}

/** Somebody made people unmatchable in this log. Who they are is not said. */
export interface ForgettingEvent {
  readonly kind: "people forgotten";
  readonly time: number;
  readonly by: string;
  readonly people: number;
}

/** Somebody asked the log. Whom of the people it speaks of they asked about is not said. */
export interface QuestionEvent {
  readonly kind: "question";
  readonly time: number;
  readonly by: string;
  /** The command: `who-read`, `subject`, `read-by` … */
  readonly question: string;
  /** How many people they asked about; left out of questions that name none. */
  readonly people?: number;
  /** The user whose readings were asked for. */
  readonly about?: string;
  /** The stretch of time that was asked for, Unix time in milliseconds. */
  readonly since?: number;
  readonly until?: number;
}

/** A part of the log must stay as it is until that is lifted, for a court or an authority. */
export interface HoldEvent {
  readonly kind: "hold placed" | "hold lifted";
  readonly time: number;
  readonly by: string;
  readonly why: string;
  readonly id: string;
  /** Of what time the lines are that must stay; all of it where they are left out. */
  readonly since?: number;
  readonly until?: number;
}

/** An operator ended a session, or had policy, users and TLS files read again. */
export interface OrderEvent {
  readonly kind: "session killed" | "reload";
  readonly time: number;
  readonly by: string;
  /** The one that was ended. */
  readonly session?: string;
}

/** A case about a user's reading changed. */
export interface CaseEvent {
  readonly kind: "case";
  readonly time: number;
  /** An operator; "sluice" where an alert opened it. */
  readonly by: string;
  readonly id: string;
  readonly change: "opened" | "owner" | "answer" | "comment" | "closed";
  /** Whom the case is about. */
  readonly about: string;
  readonly text: string;
}

export type AuditEvent =
  | StatementEvent
  | RowsEvent
  | SessionEvent
  | PolicyEvent
  | CatalogEvent
  | MeasureEvent
  | AlertEvent
  | ForgettingEvent
  | QuestionEvent
  | HoldEvent
  | OrderEvent
  | CaseEvent;

/** Where events go. `write` never throws and does not wait; `flush` resolves when all that was written is on disk. */
export interface AuditLog {
  write(event: AuditEvent): void;
  /**
   * Waits until all that was written so far is on disk, or is known not to be. True: what these events speak
   * of may be released. False: it may not (`on_audit_loss: closed`). Never rejects.
   */
  durable(): Promise<boolean>;
  /** False while the disk takes nothing, and until all that waited for it is written. */
  readonly ready: boolean;
  /** False: what reads people is refused before it runs (`on_audit_loss: closed`, and not `ready`). */
  readonly accepts?: boolean;
  /** Unix time in milliseconds of the oldest event that is not on disk yet; undefined when all are. */
  readonly waitsSince?: number | undefined;
  /** The keyed hash of a person in events. */
  hashSubject(namespace: string, value: string): string;
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** The same log, but for what is given: for those who look at events on their way, or end something with it. */
export function aroundLog(
  log: AuditLog,
  own: Pick<Partial<AuditLog>, "write" | "durable" | "close">,
): AuditLog {
  return {
    write: (event) => log.write(event),
    durable: () => log.durable(),
    get ready() {
      return log.ready;
    },
    get accepts() {
      return log.accepts ?? true;
    },
    get waitsSince() {
      return log.waitsSince;
    },
    hashSubject: (namespace, value) => log.hashSubject(namespace, value),
    flush: () => log.flush(),
    close: () => log.close(),
    ...own,
  };
}

const MEASURES: ReadonlySet<string> = new Set(MEASURE_KINDS);

/** Whether an event is an order for a user. */
export function isMeasure(event: AuditEvent): event is MeasureEvent {
  return MEASURES.has(event.kind);
}
