import { type BudgetMetrics, budgetMetrics } from "./budgets.ts";
import { METRICS } from "./definitions.ts";
import { gauge, type Numbers, processRegistry } from "./series.ts";
import { type SessionMetrics, sessionMetrics } from "./session-metrics.ts";
import { type StateMetrics, stateMetrics } from "./state-metrics.ts";
import { type StatementMetrics, statementMetrics } from "./statement-metrics.ts";

export type { Numbers } from "./series.ts";

/** The numbers of one process, under the names in metrics/definitions.ts. */
export interface Metrics extends SessionMetrics, StatementMetrics, StateMetrics, BudgetMetrics {
  /** All numbers as prom-client's own objects, for summing up several processes. */
  numbers(): Promise<readonly Numbers[]>;
  /** The text of `/metrics`, and its content type. */
  exposition(): Promise<{ readonly contentType: string; readonly text: string }>;
}

export interface MetricsOptions {
  readonly version: string;
  /** The databases of the configuration; every other name counts as "other". */
  readonly databases: readonly string[];
  /** How many users are named with their use of budgets; none if absent. */
  readonly topUsers?: number;
}

/** Sluice's metrics, in addition to prom-client's own for the process and its event loop. */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = processRegistry();
  gauge(registry, METRICS.buildInfo).set(1, options.version);
  const databases = new Set(options.databases);
  const label = (database: string) => (databases.has(database) ? database : "other");
  return {
    ...sessionMetrics(registry, label),
    ...statementMetrics(registry, label),
    ...stateMetrics(registry, label),
    ...budgetMetrics(registry, options.topUsers ?? 0),
    numbers: () => registry.getMetricsAsJSON(),
    exposition: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  };
}
