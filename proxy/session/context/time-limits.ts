import { Backend } from "../../wire/messages.ts";
import { type Refusal, refuse, refuseSession } from "../../wire/refusal.ts";

/** In milliseconds; 0: none. */
export interface TimeLimits {
  /** The client says nothing, and no transaction is open. */
  readonly idleSession: number;
  /** The client says nothing, and holds a transaction open. */
  readonly idleInTransaction: number;
  /** A statement runs. */
  readonly statement: number;
}

/** What a session waits for. "proxy": Redis, the disk, the catalog, which have limits of their own. */
export type Activity = "idle" | "idle in transaction" | "statement" | "proxy";

/** A session, as far as the limits look at it. */
export interface Timed {
  readonly activity: Activity;
  /** Grows whenever a statement has been answered: the same number means that it is still the same one. */
  readonly answers: number;
  /** Asks the server to stop the statement that runs. */
  cancelStatement(): void;
  /** The statement has not stopped. */
  endStatement(): void;
  end(refusal: Refusal): void;
}

/**
 * A check that comes this many intervals late was not delayed by work alone: the process or its machine was suspended.
 */
const STANDSTILL = 3;

/** What has been seen of a session, and since when. */
interface Sighting {
  activity: Activity;
  answers: number;
  since: number;
  cancelled: boolean;
}

/** For how long a statement may go on after the request to stop. */
export const STOPPING_MS = 5_000;

/**
 * Checks all sessions at intervals, so that statements need no timer and no clock of their own. A state that is seen at
 * two checks has lasted at least as long as the time between them: so a limit never acts too early, and acts at most
 * one interval too late, not counting time during which the process was suspended.
 */
export class TimeKeeper {
  readonly #limits: TimeLimits;
  readonly #stoppingMs: number;
  readonly #sightings = new Map<Timed, Sighting>();
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #every: number;
  #looked = performance.now();

  constructor(limits: TimeLimits, stoppingMs = STOPPING_MS) {
    this.#limits = limits;
    this.#stoppingMs = stoppingMs;
    const given = [limits.idleSession, limits.idleInTransaction, limits.statement].filter(
      (limit) => limit > 0,
    );
    this.#every = Math.min(1_000, Math.max(20, Math.min(...given) / 10));
    if (given.length === 0) return;
    this.#timer = setInterval(() => this.#look(), this.#every).unref();
  }

  watch(session: Timed): void {
    if (this.#timer === undefined) return;
    this.#sightings.set(session, { activity: "proxy", answers: -1, since: 0, cancelled: false });
  }

  unwatch(session: Timed): void {
    this.#sightings.delete(session);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#sightings.clear();
  }

  #look(): void {
    const now = performance.now();
    const stoodStill = this.#stoodStill(now);
    for (const [session, seen] of this.#sightings) {
      const { activity, answers } = session;
      seen.since += stoodStill;
      if (activity === seen.activity && answers === seen.answers)
        this.#judge(session, seen, now - seen.since);
      else Object.assign(seen, { activity, answers, since: now, cancelled: false });
    }
  }

  /**
   * How long this process was suspended since the last check. What clients sent meanwhile is read after this check, so
   * that time does not count as idle time of any session.
   */
  #stoodStill(now: number): number {
    const late = now - this.#looked - this.#every;
    this.#looked = now;
    return late > STANDSTILL * this.#every ? late : 0;
  }

  #judge(session: Timed, seen: Sighting, lasted: number): void {
    const { idleSession, idleInTransaction, statement } = this.#limits;
    switch (seen.activity) {
      case "proxy":
        return;
      case "idle":
        if (idleSession > 0 && lasted >= idleSession) session.end(IDLE_SESSION);
        return;
      case "idle in transaction":
        if (idleInTransaction > 0 && lasted >= idleInTransaction) session.end(IDLE_IN_TRANSACTION);
        return;
      case "statement":
        if (statement === 0 || lasted < statement) return;
        if (seen.cancelled) {
          if (lasted >= statement + this.#stoppingMs) session.endStatement();
          return;
        }
        seen.cancelled = true;
        session.cancelStatement();
    }
  }
}

/** Whether a message of the server's ends the answer to a statement, or to all that was sent up to a Sync. */
export function endsAnswer(type: number): boolean {
  switch (type) {
    case Backend.CommandComplete:
    case Backend.EmptyQueryResponse:
    case Backend.PortalSuspended:
    case Backend.ErrorResponse:
    case Backend.ReadyForQuery:
      return true;
    default:
      return false;
  }
}

/** In the words of ProcessInterrupts (tcop/postgres.c), as the three below. */
export const STATEMENT_TIMEOUT = refuse("57014", "canceling statement due to statement timeout", {
  hint: "The proxy's --statement-timeout limits it.",
});

const IDLE_SESSION = refuseSession("57P05", "terminating connection due to idle-session timeout", {
  hint: "The proxy's --idle-session-timeout limits it. Connect again.",
});

const IDLE_IN_TRANSACTION = refuseSession(
  "25P03",
  "terminating connection due to idle-in-transaction timeout",
  { hint: "The proxy's --idle-in-transaction-timeout limits it. The transaction is rolled back." },
);

/**
 * The client neither sends nor reads the data that the statement waits for, and in that state the server does not
 * notice a cancel request.
 */
export const STALLED = refuseSession("57014", "terminating connection due to statement timeout", {
  detail: "The client did not go on with the data of its statement.",
  hint: "The proxy's --statement-timeout limits it.",
});

export const SERVER_SILENT = refuseSession("08006", "the database server does not answer", {
  detail: "A statement exceeded the proxy's --statement-timeout, and could not be cancelled.",
  hint: "Whether the last transaction was committed is not known. Connect again later; the proxy's log may have details.",
});
