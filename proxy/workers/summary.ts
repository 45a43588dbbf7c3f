import { AggregatorRegistry, type Registry } from "prom-client";
import { DEFINITIONS, METRICS, type Together } from "../metrics/definitions.ts";
import { gauge, type Numbers, processRegistry, tally } from "../metrics/series.ts";

/** The metrics of the first process: its own memory and time, and the state of its workers. */
export interface OwnNumbers {
  workers(serving: number): void;
  restarted(): void;
  numbers(): Promise<readonly Numbers[]>;
}

export function ownNumbers(): OwnNumbers {
  const registry = processRegistry();
  const serving = gauge(registry, METRICS.workers);
  const restarts = tally(registry, METRICS.workerRestarts);
  serving.set(0);
  return {
    workers: (count) => serving.set(count),
    restarted: () => restarts(1),
    numbers: () => registry.getMetricsAsJSON(),
  };
}

const TOGETHER: ReadonlyMap<string, Together> = new Map(
  DEFINITIONS.map(({ name, together }) => [name, together ?? "sum"]),
);

/** Combines the metrics of several processes into those of one. */
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
 * What to keep of a process that ended: its counts. Without them the sums would fall, and Prometheus would take that
 * for a restart of the whole and count everything again.
 */
export function legacyOf(numbers: readonly Numbers[]): readonly Numbers[] {
  return numbers.filter(({ type }) => isCount(type));
}

// prom-client's declaration says numbers; its objects have words.
function isCount(type: unknown): boolean {
  return type === "counter" || type === "histogram";
}

function registryOf(processes: readonly (readonly Numbers[])[]): Registry {
  const all = processes.map((numbers) =>
    numbers.map((one) => ({
      ...one,
      // Metrics that are not ours have their own aggregator.
      aggregator: TOGETHER.get(one.name) ?? one.aggregator,
    })),
  );
  return AggregatorRegistry.aggregate(all);
}
