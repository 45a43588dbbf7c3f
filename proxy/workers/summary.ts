import { AggregatorRegistry, Counter, Gauge, Registry } from "prom-client";
import { collectProcessMetrics, type Numbers } from "../metrics.ts";

/** The numbers of the first process: its own memory and time, and how its workers fare. */
export interface OwnNumbers {
  workers(serving: number): void;
  restarted(): void;
  numbers(): Promise<readonly Numbers[]>;
}

export function ownNumbers(): OwnNumbers {
  const registry = new Registry();
  collectProcessMetrics(registry);
  const serving = new Gauge({
    name: "sluice_workers",
    help: "Worker processes that take clients.",
    registers: [registry],
  });
  const restarts = new Counter({
    name: "sluice_worker_restarts_total",
    help: "Worker processes that ended by themselves and were started again.",
    registers: [registry],
  });
  return {
    workers: (count) => serving.set(count),
    restarted: () => restarts.inc(),
    numbers: () => registry.getMetricsAsJSON(),
  };
}

/**
 * How the numbers of several processes become one. prom-client's own say it themselves; of ours, counts add
 * up, and what tells of a state is as bad as the worst of them.
 */
function aggregatorOf({ name, aggregator }: Numbers): Numbers["aggregator"] {
  if (!name.startsWith("sluice_")) return aggregator;
  if (name.endsWith("_info")) return "first";
  return /_(up|ready|successful|timestamp_seconds)$/.test(name) ? "min" : "sum";
}

/** The numbers of several processes as those of one. */
export async function sumUp(processes: readonly (readonly Numbers[])[]): Promise<readonly Numbers[]> {
  return registryOf(processes).getMetricsAsJSON();
}

/** The text of `/metrics` for several processes. */
export async function expositionOf(
  processes: readonly (readonly Numbers[])[],
): Promise<{ readonly contentType: string; readonly text: string }> {
  const registry = registryOf(processes);
  return { contentType: registry.contentType, text: await registry.metrics() };
}

/**
 * What a process that ended leaves behind: what it has counted, without which the sums would fall, and
 * Prometheus would take that for a restart of the whole and count it all again.
 */
export function legacyOf(numbers: readonly Numbers[]): readonly Numbers[] {
  return numbers.filter(({ type }) => isCount(type));
}

// prom-client's declaration says numbers, its objects words.
function isCount(type: unknown): boolean {
  return type === "counter" || type === "histogram";
}

function registryOf(processes: readonly (readonly Numbers[])[]): Registry {
  const all = processes.map((numbers) => numbers.map((one) => ({ ...one, aggregator: aggregatorOf(one) })));
  return AggregatorRegistry.aggregate(all);
}
