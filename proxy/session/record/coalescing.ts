import type { Statement } from "../../sql/verdict.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";
import type { People } from "../statement/run.ts";

/** One execution of a statement. */
export interface Execution {
  readonly judged: Judged;
  readonly statement: Statement;
  /** Whose rows it gave; where no one asks what is behind a FETCH or an EXECUTE, the statement itself. */
  readonly shape: Statement;
  /** Whom they showed, where somebody looks. */
  readonly people?: People | undefined;
  /** The person the account read for, if any. */
  readonly person?: string | undefined;
  /** Why its rows ended early. */
  readonly cut?: Refusal | undefined;
  rows: number;
  bytes: number;
  /** Where its tag says it. */
  written: number | undefined;
  /** Milliseconds from the client's message to the end of the reply. */
  duration: number;
}

/** Executions of one statement that ended well, since its last event: numbers and times are of all of them. */
export interface Repeated extends Execution {
  count: number;
  /** Unix time in milliseconds when the first of them ended, and the last. */
  readonly first: number;
  last: number;
}

/** What puts executions on record. */
interface Teller {
  observed(repeated: Repeated): void;
}

/** An execution waits for others like it at most so long (milliseconds). */
const TOGETHER = 200;
/** More statements than these do not wait at once: events of long texts would stop all other sessions when they are written. */
const MOST_WAITING = 32;

/**
 * Combines repeated executions in a session that sees everything: executions of one statement within a moment become
 * one event with their number. An application may ask for one row ten thousand times a second; an event for each would
 * cost more than everything else that the proxy does for it, and would give readers of the log no more information.
 */
export class Repetitions {
  readonly #teller: Teller;
  /** None while nothing waits: an idle session costs no memory for it. */
  #open: Map<Statement, Repeated> | undefined;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;

  constructor(teller: Teller, now: () => number) {
    this.#teller = teller;
    this.#now = now;
  }

  /** A statement has ended without an error. */
  add(execution: Execution): void {
    let known = this.#open?.get(execution.statement);
    if (known !== undefined && known.person !== execution.person) {
      this.flush();
      known = undefined;
    }
    if (known === undefined) {
      this.#open ??= new Map();
      if (this.#open.size === MOST_WAITING) this.#writeOldest(this.#open);
      this.#open.set(execution.statement, once(execution, this.#now()));
      this.#timer ??= setTimeout(() => this.flush(), TOGETHER);
      return;
    }
    const { rows, bytes, written, people, duration } = execution;
    known.count++;
    known.rows += rows;
    known.bytes += bytes;
    if (written !== undefined) known.written = (known.written ?? 0) + written;
    if (people !== undefined) known.people?.addAll(people);
    known.duration += duration;
    known.last = this.#now();
  }

  #writeOldest(open: Map<Statement, Repeated>): void {
    const [oldest] = open.values();
    if (oldest === undefined) return;
    open.delete(oldest.statement);
    this.#teller.observed(oldest);
  }

  /** Writes all that waits: before events that must follow it, and at the session's end. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const open = this.#open;
    this.#open = undefined;
    for (const repeated of open?.values() ?? []) this.#teller.observed(repeated);
  }
}

/** An execution by itself. `now` is Unix time in milliseconds. */
export function once(execution: Execution, now: number): Repeated {
  return { ...execution, count: 1, first: now, last: now };
}
