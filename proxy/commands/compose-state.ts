import type { Readiness } from "../admin/http.ts";
import type { AuditLog } from "../audit/event.ts";
import type { CounterStore } from "../guard/meter.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";

/** What of the outside world is as it should be; `/readyz` tells it. */
export interface State {
  draining: boolean;
  /** The databases that the settings name. One that answers is enough to be ready: the log tells of others. */
  readonly asked: readonly string[];
  /** What stands against each of them; nothing against those that answer. */
  readonly databaseProblems: Map<string, string>;
  /** Those that answer, but do not have what the policy names. */
  readonly misfits: Set<string>;
}

/** Where it is told how things are. */
export interface Tellers {
  readonly metrics: Metrics;
  readonly log: Log;
}

export function stateOf(asked: readonly string[]): State {
  const databaseProblems = new Map(asked.map((database) => [database, "not asked yet"]));
  return { draining: false, asked, databaseProblems, misfits: new Set() };
}

/** What it says may be read by anybody who reaches the address: no host, user or version. */
export function readiness(state: State, store: CounterStore, audit: AuditLog): Readiness {
  const reasons: string[] = [];
  if (state.draining) reasons.push("draining");
  if (state.databaseProblems.size === state.asked.length)
    reasons.push(
      state.misfits.size > 0 ? "the policy does not fit the database" : "the database cannot be reached",
    );
  if (!store.ready) reasons.push("the counters cannot be reached");
  if (!audit.ready) reasons.push("the audit log cannot be written");
  return { ok: reasons.length === 0, reasons };
}
