/**
 * What a dashboard shows, without Grafana's ceremony. test/admin/dashboards.test.ts makes the JSON files of it:
 * `npx vitest run test/admin/dashboards.test.ts -u`.
 */
export interface BoardPlan {
  /** The file's name, and with "sluice-" before it the dashboard's uid, which links and bookmarks hold on to. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly VariablePlan[];
  readonly rows: readonly RowPlan[];
}

export interface VariablePlan {
  readonly name: string;
  /** A metric whose label of that name has the values to choose from. */
  readonly metric: string;
}

export interface RowPlan {
  readonly title: string;
  /** From left to right, 24 columns a line. */
  readonly panels: readonly PanelPlan[];
}

export type PanelPlan = TextPlan | QueryPlan;

/** Says something and asks for nothing. */
export interface TextPlan {
  readonly kind: "text";
  readonly title: string;
  readonly description: string;
  readonly markdown: string;
  readonly width: number;
  readonly height: number;
}

export interface QueryPlan {
  readonly kind: "timeseries" | "stat" | "bargauge";
  readonly title: string;
  /** What it shows, and what to do when it looks wrong. */
  readonly description: string;
  /** Grafana's name of the unit. */
  readonly unit: Unit;
  readonly width: number;
  readonly height: number;
  readonly queries: readonly Query[];
  /** From which value on it looks how; below the first one it is green. */
  readonly thresholds?: readonly Threshold[];
  /** Words instead of numbers. */
  readonly words?: Readonly<Record<string, { readonly text: string; readonly color: Color }>>;
  readonly max?: number;
}

/** Grafana's names for: a number, a share of 1, things a second, bytes a second, bytes, seconds, yes or no. */
export type Unit = "short" | "percentunit" | "ops" | "Bps" | "bytes" | "s" | "bool";

export type Color = "green" | "yellow" | "orange" | "red" | "blue";

export interface Threshold {
  readonly from: number;
  readonly color: Color;
}

export interface Query {
  readonly expr: string;
  /** Names the line, with {{labels}}. */
  readonly legend: string;
}

/** A line over time, three to a row unless said otherwise. */
export function lines(
  plan: Omit<QueryPlan, "kind" | "width" | "height"> & { readonly width?: number },
): QueryPlan {
  return { kind: "timeseries", width: 8, height: 8, ...plan };
}

/** One number that is good or bad. */
export function state(
  plan: Omit<QueryPlan, "kind" | "width" | "height"> & { readonly width?: number },
): QueryPlan {
  return { kind: "stat", width: 4, height: 4, ...plan };
}

/** 1 is well and 0 is not. */
export function wellOrNot(well: string, not: string): NonNullable<QueryPlan["words"]> {
  return { 1: { text: well, color: "green" }, 0: { text: not, color: "red" } };
}

/** Must stay 0. */
export const ZERO: readonly Threshold[] = [{ from: 0.001, color: "red" }];

/** Picks what the variables chose. */
export const INSTANCE = 'instance=~"$instance"';
export const DATABASE = `database=~"$database", ${INSTANCE}`;
export const ROLE = `role=~"$role", ${INSTANCE}`;
export const WHERE = `database=~"$database", role=~"$role", ${INSTANCE}`;

export const INSTANCES: VariablePlan = { name: "instance", metric: "sluice_build_info" };
export const DATABASES: VariablePlan = { name: "database", metric: "sluice_statements_total" };
export const ROLES: VariablePlan = { name: "role", metric: "sluice_statements_total" };
