import type { Readiness } from "../admin/http-server.ts";
import type { AuditLog } from "../audit/event.ts";
import type { Log } from "../log.ts";
import type { CounterStore } from "../meter/meter.ts";
import type { Metrics } from "../metrics/metrics.ts";

/** The state of what Sluice depends on, for `/readyz`. */
export interface State {
  draining: boolean;
  /** The databases that the settings name. One that answers is enough to be ready; problems of others are logged. */
  readonly asked: readonly string[];
  /** The problem of each of them; databases that answer have no entry. */
  readonly databaseProblems: Map<string, string>;
  /** Databases that answer but lack what the policy names. */
  readonly misfits: Set<string>;
}

/** Where the state is reported. */
export interface Tellers {
  readonly metrics: Metrics;
  readonly log: Log;
}

export function stateOf(asked: readonly string[]): State {
  const databaseProblems = new Map(asked.map((database) => [database, "not asked yet"]));
  return { draining: false, asked, databaseProblems, misfits: new Set() };
}

/** Anyone who reaches the address may read it, so it contains no host, user or version. */
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
