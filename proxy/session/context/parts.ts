import type { AuditLog } from "../../audit/event.ts";
import type { CanarySighting } from "../../canaries/canaries.ts";
import type { LiveCatalog } from "../../catalog/live.ts";
import type { Log } from "../../log.ts";
import type { BudgetSighting } from "../../meter/budget-alerts.ts";
import type { Account, Meter } from "../../meter/meter.ts";
import type { Metrics } from "../../metrics/metrics.ts";
import type { StatementTimes } from "../../metrics/statement-metrics.ts";
import type { Policy } from "../../policy/policy.ts";
import type { Scope } from "../../sql/scope.ts";
import type { Statement, Verdict } from "../../sql/verdict.ts";
import type { Sealer } from "../../tokens/sealed.ts";
import { type Refusal, refuseSession } from "../../wire/refusal.ts";
import type { Claims } from "../person/claims.ts";
import type { Established } from "./established.ts";
import type { TimeKeeper } from "./time-limits.ts";

/** What the sessions of a database work with. */
export interface SessionParts {
  /** The policy in force for the database: another object after each reload. */
  readonly policy: () => Policy;
  /** Interns scopes. */
  readonly scopes: { of(scope: Scope): Scope };
  /** `sql` is lent, and has no terminating zero. `judgeInTurn` gives a promise where the verdict is made elsewhere. */
  readonly verdicts: {
    judge(sql: Buffer, scope: Scope): Verdict;
    judgeInTurn(sql: Buffer, scope: Scope): Verdict | Promise<Verdict>;
    storedText(statements: readonly Statement[]): string | undefined;
  };
  readonly catalog: Pick<LiveCatalog, "current" | "changed" | "watch" | "lookAgain">;
  /** Columns that a session's database user may not read; the same promise until that may have changed. */
  readonly unreadable: (session: Pick<Established, "user" | "databaseUser">) => Promise<ReadonlySet<string>>;
  readonly maskKey: Buffer | undefined;
  /** Seals and opens values that the database holds as tokens; undefined if there is no key ring. */
  readonly tokens?: Sealer;
  readonly meter: (account: Account) => Meter;
  readonly audit: AuditLog;
  /** Whether what a guarded role reads or writes is answered only when its event is on disk. */
  /** Longest message of a client whose role sees all; that of all others if left out. */
  readonly openMessageBytes?: number;
  readonly auditDurability: "before" | "after";
  /** Called when a decoy is about to be shown; none if left out. */
  readonly onCanary?: (sighting: CanarySighting) => void;
  /** What a suspended person is told; undefined for everybody else. */
  readonly suspended?: (person: string) => Refusal | undefined;
  /** Called when a budget that only alerts is used up; none if left out. */
  readonly onBudget?: (sighting: BudgetSighting) => void;
  /** Verifies the signed claims that name people; without it a claim names no one. */
  readonly claims?: Pick<Claims, "isChecked" | "named">;
  /** By `canaryKey`: the groups of the decoys that conditions mark now. */
  readonly markedCanaries?: () => ReadonlyMap<string, string>;
  /** Ends what lasts too long; nothing does if left out. */
  readonly timeKeeper?: Pick<TimeKeeper, "watch" | "unwatch">;
  /** Take the times of statements, in seconds. */
  readonly times: StatementTimes;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** A statement's text with its literals taken out; empty when it cannot be parsed. `more`: bytes of it that follow. */
  readonly normalise: (sql: Buffer, more?: number) => string;
}

/** The session cannot go on, and its client gets the reason. Thrown by any step, caught in one place. */
export class SessionEnd extends Error {
  override readonly name = "SessionEnd";
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = { ...refusal, severity: "FATAL" };
  }

  /** What the server sent answers nothing that it was asked: from here on it is unknown which answer belongs to which request. */
  static outOfStep(what: string): SessionEnd {
    return new SessionEnd(
      refuseSession("XX000", "the server's answers do not match what it was asked", {
        detail: what,
        hint: "This is a fault of Sluice or of the server, not of the statement: please report it.",
        ends: "protocol",
      }),
    );
  }
}
