import {
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";
import type { StatementEvent } from "./audit/event.ts";

/**
 * The numbers of one process. Label values come from configuration or a closed list only: never from a
 * client's text.
 */
export interface Metrics {
  sessionOpened(database: string): void;
  sessionClosed(database: string): void;
  /** reason: password, no_role, timeout, protocol, upstream. */
  loginFailed(reason: string): void;
  /** Statement decisions, refusals by SQLSTATE, rows, bytes, people. */
  statement(event: StatementEvent): void;
  /** What takes a session's statements' durations, in seconds: got once, called for each. */
  durations(database: string): (seconds: number) => void;
  verdictCache(hit: boolean): void;
  /** Seconds of analysis (cache misses). */
  analysed(seconds: number): void;
  /** The verification pass found a guarded relation left over: must stay 0. */
  verificationFailed(): void;
  policyReloaded(ok: boolean): void;
  countersReady(ready: boolean): void;
  /** Unix time in milliseconds. */
  catalogRefreshed(at: number): void;
  auditLost(events: number): void;
  /** A sink other than the files was too slow or away: it never gets these lines. */
  auditSinkDropped(sink: "stdout" | "redis", events: number): void;
  /** A rule of behaviour saw somebody. */
  alert(role: string, rule: string, action: string): void;
  /** All numbers as prom-client's own objects, for whoever sums up those of several processes. */
  numbers(): Promise<readonly Numbers[]>;
  /** The text of `/metrics`, and its content type. */
  exposition(): Promise<{ readonly contentType: string; readonly text: string }>;
}

export type Numbers = MetricObjectWithValues<MetricValue<string>>;

export interface MetricsOptions {
  readonly version: string;
  /** The databases of the configuration; every other name counts as "other". */
  readonly databases: readonly string[];
}

/** Gauges that prom-client names like counters; their parts by kind (`nodejs_active_handles` …) stay. */
const NAMED_AGAINST_THE_RULES = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
];

/** prom-client's numbers of this process and its event loop, but for those. */
export function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
  for (const name of NAMED_AGAINST_THE_RULES) registry.removeSingleMetric(name);
}

/** Numbers under the names of docs/metrics.md, beside prom-client's own of the process and its event loop. */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  collectProcessMetrics(registry);
  gauge(registry, "sluice_build_info", "Always 1; the labels say what runs.", ["version"])
    .labels(options.version)
    .set(1);
  const databases = new Set(options.databases);
  const label = (database: string) => (databases.has(database) ? database : "other");
  return {
    ...sessionNumbers(registry, label),
    ...statementNumbers(registry, label),
    ...analysisNumbers(registry),
    ...stateNumbers(registry),
    numbers: () => registry.getMetricsAsJSON(),
    exposition: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
  };
}

type DatabaseLabel = (database: string) => string;

const LOGIN_REASONS = new Set([
  "password",
  "no_role",
  "suspended",
  "timeout",
  "protocol",
  "upstream",
  "settings",
  "limit",
]);

function sessionNumbers(registry: Registry, label: DatabaseLabel) {
  const open = gauge(registry, "sluice_client_connections", "Sessions past log-in.", ["database"]);
  const total = tally(registry, "sluice_sessions_total", "Sessions begun, past log-in.", ["database"]);
  const failed = tally(registry, "sluice_login_failures_total", "Log-ins that failed, by reason.", [
    "reason",
  ]);
  return {
    sessionOpened(database: string) {
      open.labels(label(database)).inc();
      total(1, label(database));
    },
    sessionClosed: (database: string) => open.labels(label(database)).dec(),
    loginFailed: (reason: string) => failed(1, LOGIN_REASONS.has(reason) ? reason : "other"),
  };
}

/** Statement.command and the refusal's sqlstate are closed lists already; these keep them so. */
const COMMANDS = new Set(
  (
    "SELECT,INSERT,UPDATE,DELETE,MERGE,COPY,VALUES,TABLE,EXPLAIN,PREPARE,EXECUTE,DEALLOCATE,DECLARE CURSOR," +
    "FETCH,MOVE,CLOSE CURSOR,BEGIN,START TRANSACTION,COMMIT,ROLLBACK,SAVEPOINT,RELEASE,SET,RESET,SHOW," +
    "DISCARD ALL,LISTEN,UNLISTEN,NOTIFY,LOCK TABLE,TRUNCATE TABLE,VACUUM,ANALYZE,CALL,DO,CREATE TABLE," +
    "CREATE TABLE AS,SELECT INTO,ALTER TABLE,DROP TABLE,CREATE INDEX,DROP INDEX,CREATE VIEW,DROP VIEW," +
    "CREATE FUNCTION,DROP FUNCTION,GRANT,REVOKE"
  ).split(","),
);
const SQLSTATES = new Set(
  (
    "08006,08P01,0A000,22021,22023,26000,28000,28P01,34000,42501,42601,53300,53400,54000,54001," +
    "57014,57P01,57P03,58000,XX000"
  ).split(","),
);

function statementNumbers(registry: Registry, label: DatabaseLabel) {
  const where = ["database", "role"] as const;
  const statements = tally(registry, "sluice_statements_total", "Statements by what was decided of them.", [
    ...where,
    "command",
    "decision",
  ]);
  const denials = tally(registry, "sluice_denials_total", "Statements refused or cut short, by SQLSTATE.", [
    ...where,
    "sqlstate",
  ]);
  const rows = tally(registry, "sluice_rows_total", "Rows given to clients.", where);
  const bytes = tally(registry, "sluice_result_bytes_total", "Bytes of rows given to clients.", where);
  const people = tally(registry, "sluice_people_total", "People read, counted once a statement.", where);
  const lookups = tally(registry, "sluice_lookups_total", "Exact look-ups of masked columns.", where);
  const duration = histogram(registry, {
    name: "sluice_statement_duration_seconds",
    help: "From a statement's arrival to the end of its reply.",
    labelNames: ["database"],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  });
  return {
    statement(event: StatementEvent) {
      const { role, decision } = event;
      const database = label(event.database);
      const command = COMMANDS.has(event.command) ? event.command : "OTHER";
      statements(event.count ?? 1, database, role, command, decision);
      if (decision === "refuse" || decision === "cut") {
        denials(1, database, role, SQLSTATES.has(event.sqlstate ?? "") ? (event.sqlstate ?? "") : "other");
      }
      rows(event.rows, database, role);
      bytes(event.bytes, database, role);
      people(event.people, database, role);
      lookups(event.lookups, database, role);
    },
    durations: (database: string) => duration(label(database)),
  };
}

function analysisNumbers(registry: Registry) {
  const cache = tally(registry, "sluice_verdict_cache_requests_total", "Verdicts asked for.", ["result"]);
  const left = tally(
    registry,
    "sluice_verification_failures_total",
    "Rewritten statements in which a guarded relation was left over: each was refused, and is a fault of Sluice.",
    [],
  );
  const overhead = histogram(registry, {
    name: "sluice_overhead_seconds",
    help: "Time that Sluice itself adds, by stage.",
    labelNames: ["stage"],
    buckets: [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1],
  });
  left(0);
  return {
    verdictCache: (hit: boolean) => cache(1, hit ? "hit" : "miss"),
    analysed: overhead("analysis"),
    verificationFailed: () => left(1),
  };
}

function stateNumbers(registry: Registry) {
  const reloads = tally(registry, "sluice_policy_reloads_total", "Policies read, by result.", ["result"]);
  const reloaded = gauge(
    registry,
    "sluice_policy_last_reload_successful",
    "1 when the policy read last is in force, 0 when it was rejected and an older one stays.",
    [],
  );
  const reloadedAt = gauge(
    registry,
    "sluice_policy_last_reload_success_timestamp_seconds",
    "When the policy in force was read.",
    [],
  );
  const counters = gauge(registry, "sluice_counters_up", "1 while the counter store can be reached.", []);
  const catalog = gauge(
    registry,
    "sluice_catalog_last_refresh_timestamp_seconds",
    "When the catalog was last found fresh.",
    [],
  );
  const alerts = tally(
    registry,
    "sluice_behaviour_alerts_total",
    "Users who read as they never do, by the rule that saw it and what was done.",
    ["role", "rule", "action"],
  );
  const lost = tally(registry, "sluice_audit_dropped_total", "Audit events that never reached the disk.", []);
  lost(0);
  const sinkDropped = tally(
    registry,
    "sluice_audit_sink_dropped_total",
    "Audit events that a sink other than the files never got.",
    ["sink"],
  );
  for (const sink of ["stdout", "redis"]) sinkDropped(0, sink);
  return {
    policyReloaded(ok: boolean) {
      reloads(1, ok ? "success" : "failure");
      reloaded.set(ok ? 1 : 0);
      if (ok) reloadedAt.setToCurrentTime();
    },
    countersReady: (ready: boolean) => counters.set(ready ? 1 : 0),
    catalogRefreshed: (at: number) => catalog.set(at / 1000),
    auditLost: (events: number) => lost(events),
    auditSinkDropped: (sink: "stdout" | "redis", events: number) => sinkDropped(events, sink),
    alert: (role: string, rule: string, action: string) => alerts(1, role, rule, action),
  };
}

function gauge(registry: Registry, name: string, help: string, labelNames: readonly string[]): Gauge {
  return new Gauge({ name, help, labelNames: [...labelNames], registers: [registry] });
}

interface Series {
  readonly labels: Readonly<Record<string, string>>;
  count: number;
}

/** The series by their labels' values, one value a level. */
interface Branch {
  readonly next: Map<string, Branch>;
  series: Series | undefined;
}

/**
 * A counter for the hot path: plain numbers, which prom-client reads only when it is asked. Counting costs
 * one look-up for each label, and makes no string.
 */
function tally(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly string[],
): (amount: number, ...labels: readonly string[]) => void {
  const root: Branch = { next: new Map(), series: undefined };
  const all: Series[] = [];
  new Counter({
    name,
    help,
    labelNames: [...labelNames],
    registers: [registry],
    collect() {
      this.reset();
      for (const { labels, count } of all) this.inc(labels, count);
    },
  });
  return (amount, ...values) => {
    let branch = root;
    for (const value of values) branch = branch.next.get(value) ?? grow(branch, value);
    if (branch.series === undefined) {
      const labels = Object.fromEntries(labelNames.map((label, i) => [label, values[i] ?? ""]));
      branch.series = { labels, count: 0 };
      all.push(branch.series);
    }
    branch.series.count += amount;
  };
}

function grow({ next }: Branch, value: string): Branch {
  const branch: Branch = { next: new Map(), series: undefined };
  next.set(value, branch);
  return branch;
}

/** A histogram with one label; what it gives for a label's value is to be kept. */
function histogram(
  registry: Registry,
  config: { name: string; help: string; labelNames: [string]; buckets: number[] },
): (label: string) => (value: number) => void {
  const whole = new Histogram({ ...config, registers: [registry] });
  return (label) => {
    const child = whole.labels(label);
    return (value) => child.observe(value);
  };
}
