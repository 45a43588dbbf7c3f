import type { Registry } from "prom-client";
import type { StatementEvent } from "../audit/event.ts";
import { METRICS } from "./definitions.ts";
import { commandLabel, denialReason, sqlstateLabel } from "./labels.ts";
import { histogram, type Observe, tally } from "./series.ts";
import type { DatabaseLabel } from "./sessions.ts";

/** What statements did, and how long it took. */
export interface StatementMetrics {
  /** Decisions, refusals, rows, bytes, people. */
  statement(event: StatementEvent): void;
  /** What takes the times of a database's statements, in seconds: got once, called for each. */
  times(database: string): StatementTimes;
  verdictCache(hit: boolean): void;
  /** Seconds of analysis (cache misses). */
  analysed(seconds: number): void;
  /** Seconds that rows or an answer waited for one of these. */
  waited(stage: "meter" | "audit", seconds: number): void;
  /** A rewritten statement, or the description of a result, did not verify. */
  verificationFailed(): void;
}

export interface StatementTimes {
  /** From the hand-over to the server to the end of the reply. */
  readonly took: Observe;
  /** Of these the server's. */
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
      // What a policy that only observes would have masked was given as it is.
      masked(decision === "observe" ? 0 : event.rows * event.masked.length, database, role);
      lookups(event.lookups, database, role);
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
  const overhead = histogram(registry, METRICS.overheadSeconds);
  const waits = { meter: overhead("meter"), audit: overhead("audit") };
  return {
    verdictCache: (hit) => cache(1, hit ? "hit" : "miss"),
    analysed: overhead("analysis"),
    waited: (stage, seconds) => waits[stage](seconds),
    verificationFailed: () => left(1),
  };
}
