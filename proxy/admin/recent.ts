import {
  type AlertEvent,
  type AuditEvent,
  type AuditLog,
  aroundLog,
  isMeasure,
  MEASURE_KINDS,
  type MeasureEvent,
  type StatementEvent,
} from "../audit/event.ts";

/** A statement as operators see it: its literals are taken out, and nobody whom it read is named. */
export type SeenStatement = Pick<
  StatementEvent,
  | "time"
  | "session"
  | "user"
  | "account"
  | "role"
  | "database"
  | "client"
  | "application"
  | "command"
  | "statement"
  | "decision"
  | "sqlstate"
  | "rule"
  | "masked"
  | "rows"
  | "people"
  | "duration"
>;

/** Which statements are meant: of one session, of one user, or of all. */
export interface Wanted {
  readonly session?: string;
  /** Also those that the user's account ran for others. */
  readonly user?: string;
}

export const NOTABLE_KINDS = [
  "alert",
  "refused",
  "cut",
  "login refused",
  ...MEASURE_KINDS,
  "policy rejected",
] as const;

/** Something that a security officer wants to hear of. */
export interface Notable {
  /** Grows by one with each. */
  readonly number: number;
  readonly time: number;
  readonly kind: (typeof NOTABLE_KINDS)[number];
  readonly user: string;
  readonly role: string;
  readonly database: string;
  readonly client: string;
  readonly sqlstate: string;
  /** The rule or policy line that spoke. */
  readonly rule: string;
  readonly text: string;
  /** Of an alert: its id, how severe it is, and the session that is to blame. */
  readonly alert?: string;
  readonly severity?: NonNullable<AlertEvent["severity"]>;
  readonly session?: string;
}

/** Sums since the process began. */
export interface Totals {
  readonly statements: number;
  readonly bytes: number;
  /** Milliseconds. */
  readonly duration: number;
}

const STATEMENTS = 2_000;
/** Of refusals, and as many of all else: a loop of refusals must not drive out the alert that it raised. */
const NOTABLES = 500;
const REFUSALS: ReadonlySet<Notable["kind"]> = new Set(["refused", "cut", "login refused"]);

/** What this process decided lately: bounded, and gone with it. The audit log is what counts. */
export class Recent {
  readonly #statements = new Ring<EventSlot>(STATEMENTS);
  readonly #refusals = new Ring<Notable>(NOTABLES);
  readonly #notables = new Ring<Notable>(NOTABLES);
  readonly #totals = new Map<string, { -readonly [Key in keyof Totals]: Totals[Key] }>();
  #number = 0;

  /** Sees an event on its way to the audit log. */
  see(event: AuditEvent): void {
    if (event.kind === "statement") {
      // Places are written over and over: objects that live for a moment are what costs a garbage collector most.
      this.#statements.put((place = new EventSlot()) => place.enter(event));
      this.#count(event);
    }
    const notable = notableOf(event);
    if (notable === undefined) return;
    const ring = isRefusal(notable.kind) ? this.#refusals : this.#notables;
    ring.put(() => ({ number: ++this.#number, ...notable }));
  }

  /** The newest first. */
  statements({ session, user }: Wanted = {}): readonly SeenStatement[] {
    return this.#statements
      .newestFirst()
      .map((place) => place.read())
      .filter((one) => (session ?? one.session) === one.session)
      .filter((one) => user === undefined || one.user === user || one.account === user);
  }

  /** By database. */
  totals(): ReadonlyMap<string, Totals> {
    return this.#totals;
  }

  /** Statements that an application runs over and over are one event with their number. */
  #count({ database, bytes, duration, count = 1 }: StatementEvent): void {
    const sum = this.#totals.get(database);
    if (sum === undefined) this.#totals.set(database, { statements: count, bytes, duration });
    else {
      sum.statements += count;
      sum.bytes += bytes;
      sum.duration += duration;
    }
  }

  /** The newest first. */
  notables(): readonly Notable[] {
    return [...this.#refusals.newestFirst(), ...this.#notables.newestFirst()].toSorted(
      (a, b) => b.number - a.number,
    );
  }
}

/** A user was stopped; other kinds are alerts and orders. */
export function isRefusal(kind: Notable["kind"]): boolean {
  return REFUSALS.has(kind);
}

/** Shows `recent` each event that is written. */
export function seenBy(recent: Recent, audit: AuditLog): AuditLog {
  return aroundLog(audit, {
    write(event) {
      recent.see(event);
      audit.write(event);
    },
  });
}

class Ring<T> {
  readonly #size: number;
  readonly #items: T[] = [];
  #next = 0;

  constructor(size: number) {
    this.#size = size;
  }

  /** `make` is given what it replaces. */
  put(make: (oldest: T | undefined) => T): void {
    this.#items[this.#next] = make(this.#items[this.#next]);
    this.#next = (this.#next + 1) % this.#size;
  }

  newestFirst(): readonly T[] {
    return [...this.#items.slice(this.#next), ...this.#items.slice(0, this.#next)].reverse();
  }
}

/** Of a statement's event no more is kept: its hashes of people may be thousands. */
class EventSlot {
  #time = 0;
  #session = "";
  #user = "";
  #account: string | undefined;
  #role = "";
  #database = "";
  #client = "";
  #application = "";
  #command = "";
  #statement = "";
  #decision: StatementEvent["decision"] = "allow";
  #sqlstate: string | undefined;
  #rule: string | undefined;
  #masked: readonly string[] = [];
  #rows = 0;
  #people = 0;
  #duration = 0;

  enter(event: StatementEvent): this {
    this.#time = event.time;
    this.#session = event.session;
    this.#user = event.user;
    this.#account = event.account;
    this.#role = event.role;
    this.#database = event.database;
    this.#client = event.client;
    this.#application = event.application;
    this.#command = event.command;
    this.#statement = event.statement;
    this.#decision = event.decision;
    this.#sqlstate = event.sqlstate;
    this.#rule = event.rule;
    this.#masked = event.masked;
    this.#rows = event.rows;
    this.#people = event.people;
    this.#duration = event.duration;
    return this;
  }

  read(): SeenStatement {
    return {
      time: this.#time,
      session: this.#session,
      user: this.#user,
      ...(this.#account !== undefined && { account: this.#account }),
      role: this.#role,
      database: this.#database,
      client: this.#client,
      application: this.#application,
      command: this.#command,
      statement: this.#statement,
      decision: this.#decision,
      ...(this.#sqlstate !== undefined && { sqlstate: this.#sqlstate }),
      ...(this.#rule !== undefined && { rule: this.#rule }),
      masked: this.#masked,
      rows: this.#rows,
      people: this.#people,
      duration: this.#duration,
    };
  }
}

type Unnumbered = Omit<Notable, "number">;
const NOBODY = { user: "", role: "", database: "", client: "", sqlstate: "", rule: "" };

function notableOf(event: AuditEvent): Unnumbered | undefined {
  if (isMeasure(event)) return measure(event);
  switch (event.kind) {
    case "statement":
      return event.decision === "refuse" || event.decision === "cut" ? refusal(event) : undefined;
    case "login refused": {
      const { time, user, role, database, client, sqlstate = "" } = event;
      return { ...NOBODY, time, user, role, database, client, sqlstate, kind: "login refused", text: "" };
    }
    case "alert":
      return alert(event);
    case "policy rejected":
      return {
        ...NOBODY,
        time: event.time,
        kind: event.kind,
        text: `${event.problems} problems; the log has them`,
      };
    default:
      return undefined;
  }
}

function measure({ time, kind, user, by, why }: MeasureEvent): Unnumbered {
  return { ...NOBODY, time, kind, user, text: why === "" ? `by ${by}` : `by ${by}: ${why}` };
}

function refusal(event: StatementEvent): Unnumbered {
  const { time, user, role, database, client, sqlstate = "", rule = "", statement, decision } = event;
  const kind = decision === "cut" ? "cut" : "refused";
  return { time, kind, user, role, database, client, sqlstate, rule, text: statement };
}

const DONE: Readonly<Record<string, string>> = {
  tighten: ". Their budgets are half as large for a week.",
  suspend: ". They are suspended.",
};

function alert(event: AlertEvent): Unnumbered {
  const { id, time, user, role, database, client, rule, action, text, severity = "high", session } = event;
  return {
    ...{ time, kind: "alert", user, role, database, client, rule, alert: id, severity, sqlstate: "" },
    text: `${text}${DONE[action] ?? ""}`,
    ...(session !== undefined && session !== "" && { session }),
  };
}
