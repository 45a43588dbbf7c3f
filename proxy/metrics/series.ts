import {
  type Aggregator,
  collectDefaultMetrics,
  type Metric,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";
import type { Definition } from "./definitions.ts";

/** One metric with its numbers, in prom-client's form. */
export type Numbers = MetricObjectWithValues<MetricValue<string>>;

interface Value {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  /** Set if it differs from the metric's own name: for the parts of a histogram. */
  readonly metricName?: string;
}

/** Gauges that prom-client names like counters; their parts by kind (`nodejs_active_handles` …) are kept. */
const NAMED_AGAINST_THE_RULES = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
];

/** A registry with prom-client's own metrics for this process and its event loop, except those. */
export function processRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of NAMED_AGAINST_THE_RULES) registry.removeSingleMetric(name);
  return registry;
}

/** A metric whose numbers are calculated only when it is read. */
export function reading(registry: Registry, definition: Definition, read: () => readonly Value[]): void {
  const { name, help, type, together } = definition;
  const aggregator: Aggregator = together ?? "sum";
  const metric = {
    name,
    help,
    type,
    aggregator,
    get: async () => ({ name, help, type, aggregator, values: read() }),
  };
  // A registry uses only a metric's name and `get`; the declaration requires one of prom-client's classes, which store
  // their numbers under strings built at each call.
  registry.registerMetric(metric as unknown as Metric);
}

/**
 * A counter for the hot path: plain numbers that are read only on a scrape. Counting costs one lookup per label and
 * builds no string.
 */
export function tally(
  registry: Registry,
  definition: Definition,
): (amount: number, ...labels: readonly string[]) => void {
  const cells = new Cells(definition, () => ({ value: 0 }));
  reading(registry, definition, () => cells.all.map(({ labels, cell }) => ({ labels, value: cell.value })));
  return (amount, ...labels) => {
    cells.of(labels).value += amount;
  };
}

export interface Gauge {
  set(value: number, ...labels: readonly string[]): void;
  add(amount: number, ...labels: readonly string[]): void;
  /** Removes all its series. */
  clear(): void;
}

export function gauge(registry: Registry, definition: Definition): Gauge {
  const cells = new Cells(definition, () => ({ value: 0 }));
  reading(registry, definition, () => cells.all.map(({ labels, cell }) => ({ labels, value: cell.value })));
  return {
    set(value, ...labels) {
      cells.of(labels).value = value;
    },
    add(amount, ...labels) {
      cells.of(labels).value += amount;
    },
    clear: () => cells.clear(),
  };
}

/** Records one value. */
export type Observe = (value: number) => void;

/** A histogram. Keep the function that it returns for a label's value: each call of that costs a few additions. */
export function histogram(
  registry: Registry,
  definition: Definition,
): (...labels: readonly string[]) => Observe {
  const bounds = definition.buckets ?? [];
  const cells = new Cells(definition, () => new Buckets(bounds));
  reading(registry, definition, () =>
    cells.all.flatMap(({ labels, cell }) => cell.values(definition.name, labels)),
  );
  return (...labels) => {
    const cell = cells.of(labels);
    return (value) => cell.observe(value);
  };
}

/** For each bound, counts the values up to it and above the previous bound. */
class Buckets {
  readonly #bounds: readonly number[];
  /** The last count is for values above all bounds. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let at = 0;
    while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sum += value;
  }

  /** In Prometheus' form each bucket also includes all lower ones. */
  values(name: string, labels: Value["labels"]): readonly Value[] {
    const values: Value[] = [];
    let count = 0;
    for (const [at, more] of this.#counts.entries()) {
      count += more;
      const le = this.#bounds[at] ?? "+Inf";
      values.push({ labels: { le, ...labels }, value: count, metricName: `${name}_bucket` });
    }
    values.push({ labels, value: this.#sum, metricName: `${name}_sum` });
    values.push({ labels, value: count, metricName: `${name}_count` });
    return values;
  }
}

interface Series<Cell> {
  readonly labels: Readonly<Record<string, string>>;
  readonly cell: Cell;
}

/** The series by their labels' values, one value per level. */
interface Branch<Cell> {
  readonly next: Map<string, Branch<Cell>>;
  series: Series<Cell> | undefined;
}

/** A metric's numbers by its labels. A counter without labels exists from the start: a rate needs the initial zero. */
class Cells<Cell> {
  readonly #labelNames: readonly string[];
  readonly #make: () => Cell;
  #root: Branch<Cell> = { next: new Map(), series: undefined };
  #all: Series<Cell>[] = [];

  constructor({ labels, type }: Definition, make: () => Cell) {
    this.#labelNames = labels;
    this.#make = make;
    if (labels.length === 0 && type === "counter") this.of([]);
  }

  get all(): readonly Series<Cell>[] {
    return this.#all;
  }

  of(values: readonly string[]): Cell {
    let branch = this.#root;
    for (const value of values) branch = branch.next.get(value) ?? grow(branch, value);
    branch.series ??= this.#begin(values);
    return branch.series.cell;
  }

  clear(): void {
    this.#root = { next: new Map(), series: undefined };
    this.#all = [];
  }

  #begin(values: readonly string[]): Series<Cell> {
    const labels = Object.fromEntries(this.#labelNames.map((label, i) => [label, values[i] ?? ""]));
    const series = { labels, cell: this.#make() };
    this.#all.push(series);
    return series;
  }
}

function grow<Cell>({ next }: Branch<Cell>, value: string): Branch<Cell> {
  const branch: Branch<Cell> = { next: new Map(), series: undefined };
  next.set(value, branch);
  return branch;
}
