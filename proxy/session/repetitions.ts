import type { Statement } from "../sql/verdict.ts";
import type { Judged } from "./judged.ts";

/** Executions of one statement that ended well, since its last event. */
export interface Repeated {
  readonly judged: Judged;
  readonly statement: Statement;
  /** Of a FETCH or an EXECUTE nobody asks what stands behind it. */
  readonly shape: Statement;
  /** Nobody looks whose rows they are. */
  readonly people?: undefined;
  count: number;
  rows: number;
  bytes: number;
  /** Where their tags say it. */
  written: number | undefined;
  /** Unix time in milliseconds when the first of them ended, and the last. */
  readonly first: number;
  last: number;
  /** Milliseconds from the clients' messages to the ends of the replies, added up. */
  duration: number;
}

/** What puts executions on record. */
interface Teller {
  observed(repeated: Repeated): void;
}

/** An execution waits for others like it at most so long (milliseconds). */
const TOGETHER = 200;

/**
 * What a session that sees all runs over and over: executions of one statement within a moment become one event
 * with their number. An application asks ten thousand times a second for one row; an event for each would cost
 * more than all else that the proxy does for it, and tell nobody more.
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
  add(
    judged: Judged,
    statement: Statement,
    rows: number,
    bytes: number,
    written: number | undefined,
    duration: number,
  ): void {
    const known = this.#open?.get(statement);
    if (known === undefined) {
      this.#open ??= new Map();
      this.#open.set(statement, once(judged, statement, rows, bytes, written, duration, this.#now()));
      this.#timer ??= setTimeout(() => this.flush(), TOGETHER);
      return;
    }
    known.count++;
    known.rows += rows;
    known.bytes += bytes;
    if (written !== undefined) known.written = (known.written ?? 0) + written;
    known.duration += duration;
    known.last = this.#now();
  }

  /** Tells of all that waits: before what must stand behind it, and at the session's end. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const open = this.#open;
    this.#open = undefined;
    for (const repeated of open?.values() ?? []) this.#teller.observed(repeated);
  }
}

/** One execution. `now` is Unix time in milliseconds. */
export function once(
  judged: Judged,
  statement: Statement,
  rows: number,
  bytes: number,
  written: number | undefined,
  duration: number,
  now: number,
): Repeated {
  const times = { first: now, last: now, duration };
  return { judged, statement, shape: statement, count: 1, rows, bytes, written, ...times };
}
