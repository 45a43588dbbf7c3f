import type { Registry } from "prom-client";
import type { StatementEvent } from "../audit/event.ts";
import { STAGES, type StageName } from "../sql/stages.ts";
import { METRICS } from "./definitions.ts";
import {
  CLAIM_REJECTIONS,
  type ClaimRejection,
  commandLabel,
  denialReason,
  sqlstateLabel,
} from "./labels.ts";
import { histogram, type Observe, tally } from "./series.ts";
import type { DatabaseLabel } from "./session-metrics.ts";

/** The outcome of statements, and their times. */
export interface StatementMetrics {
  /** Decisions, refusals, rows, bytes, people. */
  statement(event: StatementEvent): void;
  /** Records the times of a database's statements, in seconds: get it once, call it for each statement. */
  times(database: string): StatementTimes;
  verdictCache(hit: boolean): void;
  /** Starts timing an analysis (a cache miss) and its stages. */
  analysis(): AnalysisTimes;
  /** Counts a text that was refused at this stage. */
  refusedBy(stage: StageName): void;
  /** Seconds that rows or an answer waited for the meter or the audit log. */
  waited(stage: "meter" | "audit", seconds: number): void;
  /** A rewritten statement, or the description of a result, failed its verification. */
  verificationFailed(): void;
  /** Counts a rejected signed claim. */
  claimRejected(reason: ClaimRejection): void;
}

export interface AnalysisTimes {
  /** Begins a stage and ends the previous one. */
  readonly stage: (stage: StageName) => void;
  readonly end: () => void;
}

export interface StatementTimes {
  /** From sending the statement to the server to the end of the reply. */
  readonly took: Observe;
  /** The server's part of that time. */
  readonly upstream: Observe;
}

export function statementMetrics(registry: Registry, label: DatabaseLabel): StatementMetrics {
  return { ...decisions(registry, label), ...times(registry, label), ...analysis(registry) };
}

function decisions(registry: Registry, label: DatabaseLabel): Pick<StatementMetrics, "statement"> {
  const statements = tally(registry, METRICS.statements);
  const denials = tally(registry, METRICS.denials);
  const rows = tally(registry, METRICS.rows);
  const bytes = tally(registry, METRICS.resultBytes);
  const people = tally(registry, METRICS.people);
  const masked = tally(registry, METRICS.maskedCells);
  const lookups = tally(registry, METRICS.lookups);
  const reveals = tally(registry, METRICS.reveals);
  return {
    statement(event) {
      const { role, decision } = event;
      const database = label(event.database);
      statements(event.count ?? 1, database, role, commandLabel(event.command), decision);
      if (decision === "refuse" || decision === "cut") {
        denials(1, database, role, sqlstateLabel(event.sqlstate), denialReason(event));
      }
      rows(event.rows, database, role);
      bytes(event.bytes, database, role);
      people(event.people, database, role);
      // An observing policy returned unmasked what it would have masked.
      masked(decision === "observe" ? 0 : event.rows * event.masked.length, database, role);
      lookups(event.lookups, database, role);
      for (const [of, people] of Object.entries(event.reveals ?? {})) reveals(people, database, role, of);
    },
  };
}

function times(registry: Registry, label: DatabaseLabel): Pick<StatementMetrics, "times"> {
  const took = histogram(registry, METRICS.statementSeconds);
  const upstream = histogram(registry, METRICS.upstreamSeconds);
  return {
    times: (database) => ({ took: took(label(database)), upstream: upstream(label(database)) }),
  };
}

function analysis(registry: Registry): Omit<StatementMetrics, "statement" | "times"> {
  const cache = tally(registry, METRICS.verdictCache);
  const left = tally(registry, METRICS.verificationFailures);
  const rejected = tally(registry, METRICS.claimsRejected);
  // A missing counter cannot be distinguished from one that does not change.
  for (const reason of CLAIM_REJECTIONS) rejected(0, reason);
  const overhead = histogram(registry, METRICS.overheadSeconds);
  const seconds = histogram(registry, METRICS.analysisSeconds);
  const stages = new Map(STAGES.map(({ name }) => [name, seconds(name)]));
  const refusals = tally(registry, METRICS.analysisRefusals);
  const waits = { meter: overhead("meter"), audit: overhead("audit") };
  return {
    verdictCache: (hit) => cache(1, hit ? "hit" : "miss"),
    analysis: () => timesOf(overhead("analysis"), stages),
    refusedBy: (stage) => refusals(1, stage),
    waited: (stage, seconds) => waits[stage](seconds),
    verificationFailed: () => left(1),
    claimRejected: (reason) => rejected(1, reason),
  };
}

function timesOf(whole: Observe, stages: ReadonlyMap<StageName, Observe>): AnalysisTimes {
  const begin = performance.now();
  let since = begin;
  let current: StageName | undefined;
  const finish = (now: number): void => {
    if (current !== undefined) stages.get(current)?.((now - since) / 1000);
    since = now;
  };
  return {
    stage(next) {
      finish(performance.now());
      current = next;
    },
    end() {
      const now = performance.now();
      finish(now);
      whole((now - begin) / 1000);
    },
  };
}
