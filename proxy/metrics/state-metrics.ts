import type { Registry } from "prom-client";
import type { Sink } from "../audit/sinks.ts";
import type { CommandObserver } from "../fleet/redis-url.ts";
import { METRICS } from "./definitions.ts";
import { REDIS_OPERATIONS, type RedisOperation } from "./labels.ts";
import { gauge, histogram, reading, tally } from "./series.ts";
import type { DatabaseLabel } from "./session-metrics.ts";

type SinkName = Sink["name"];

/** The state of what Sluice depends on: the policy, the databases, the counters, the audit log. */
export interface StateMetrics {
  policyLoaded(version: string): void;
  policyRejected(): void;
  countersReady(ready: boolean): void;
  redis(operation: RedisOperation): CommandObserver;
  /** Whether the control connection reached a database at the upstream server. */
  upstreamReached(database: string, isReached: boolean): void;
  /** Unix time in milliseconds. */
  catalogRefreshed(at: number): void;
  auditLost(events: number): void;
  /** A sink other than the files was too slow or unreachable: these events are missing there. */
  auditSinkDropped(sink: SinkName, events: number): void;
  /** A write to it failed, and is tried again. */
  auditSinkFailed(sink: SinkName): void;
  /** A rule of behaviour matched a user. */
  alert(role: string, rule: string, action: string): void;
  /** What came of an attempt to hand an alert to its receiver; "lost": it is not tried again. */
  alertDelivery(outcome: "taken" | "failed" | "lost"): void;
  /** An operator answered a case, so many seconds after its first alert. */
  caseAnswered(seconds: number): void;
  /** Sets the sources that are read at each scrape. */
  ask(sources: Sources): void;
}

export interface Sources {
  /** Unix time in milliseconds of the oldest audit event that is not on disk yet. */
  readonly auditWaitsSince?: () => number | undefined;
  readonly suspendedUsers?: () => number;
  /** Cases that nobody has closed. */
  readonly openCases?: () => number;
}

export function stateMetrics(registry: Registry, label: DatabaseLabel): StateMetrics {
  const alerts = tally(registry, METRICS.alerts);
  const deliveries = tally(registry, METRICS.alertDeliveries);
  for (const outcome of ["taken", "failed", "lost"]) deliveries(0, outcome);
  const sources: { -readonly [Name in keyof Sources]: Sources[Name] } = {};
  const asked = (ask: () => number | undefined) => () => {
    const value = ask();
    return value === undefined ? [] : [{ labels: {}, value }];
  };
  reading(
    registry,
    METRICS.suspendedUsers,
    asked(() => sources.suspendedUsers?.()),
  );
  reading(
    registry,
    METRICS.openCases,
    asked(() => sources.openCases?.()),
  );
  const answered = histogram(registry, METRICS.caseAnswerSeconds);
  return {
    ...policy(registry),
    ...upstream(registry, label),
    ...redis(registry),
    ...audit(registry, () => sources.auditWaitsSince),
    alert: (role, rule, action) => alerts(1, role, rule, action),
    alertDelivery: (outcome) => deliveries(1, outcome),
    caseAnswered: answered(),
    ask: (more) => void Object.assign(sources, more),
  };
}

function policy(registry: Registry): Pick<StateMetrics, "policyLoaded" | "policyRejected"> {
  const info = gauge(registry, METRICS.policyInfo);
  const reloads = tally(registry, METRICS.policyReloads);
  const successful = gauge(registry, METRICS.policyReloaded);
  const at = gauge(registry, METRICS.policyReloadedAt);
  return {
    policyLoaded(version) {
      info.clear();
      info.set(1, version);
      reloads(1, "success");
      successful.set(1);
      at.set(Date.now() / 1000);
    },
    policyRejected() {
      reloads(1, "failure");
      successful.set(0);
    },
  };
}

function upstream(
  registry: Registry,
  label: DatabaseLabel,
): Pick<StateMetrics, "upstreamReached" | "catalogRefreshed"> {
  const up = gauge(registry, METRICS.upstreamUp);
  const refreshed = gauge(registry, METRICS.catalogRefreshed);
  return {
    upstreamReached: (database, isReached) => up.set(isReached ? 1 : 0, label(database)),
    catalogRefreshed: (at) => refreshed.set(at / 1000),
  };
}

function redis(registry: Registry): Pick<StateMetrics, "countersReady" | "redis"> {
  const up = gauge(registry, METRICS.countersUp);
  const seconds = histogram(registry, METRICS.redisSeconds);
  const errors = tally(registry, METRICS.redisErrors);
  for (const operation of REDIS_OPERATIONS) errors(0, operation);
  return {
    countersReady: (ready) => up.set(ready ? 1 : 0),
    redis: (operation) => ({ answered: seconds(operation), failed: () => errors(1, operation) }),
  };
}

function audit(
  registry: Registry,
  waitsSince: () => Sources["auditWaitsSince"],
): Pick<StateMetrics, "auditLost" | "auditSinkDropped" | "auditSinkFailed"> {
  reading(registry, METRICS.auditLag, () => {
    const since = waitsSince()?.();
    return [{ labels: {}, value: since === undefined ? 0 : Math.max(0, Date.now() - since) / 1000 }];
  });
  const lost = tally(registry, METRICS.auditDropped);
  const sinkDropped = tally(registry, METRICS.auditSinkDropped);
  const sinkFailures = tally(registry, METRICS.auditSinkFailures);
  for (const sink of ["stdout", "redis", "syslog", "otlp", "kafka"]) {
    sinkDropped(0, sink);
    sinkFailures(0, sink);
  }
  return {
    auditLost: (events) => lost(events),
    auditSinkDropped: (sink, events) => sinkDropped(events, sink),
    auditSinkFailed: (sink) => sinkFailures(1, sink),
  };
}
