import type { Registry } from "prom-client";
import type { SessionEndReason } from "../wire/refusal.ts";
import { METRICS } from "./definitions.ts";
import { loginReason } from "./labels.ts";
import { gauge, tally } from "./series.ts";

/** Open sessions, and sessions that began or ended. */
export interface SessionMetrics {
  sessionOpened(database: string): void;
  sessionClosed(database: string, reason: SessionEndReason): void;
  /** reason: password, no_role, timeout, protocol, upstream. */
  loginFailed(reason: string): void;
}

/** A database's label: its name, or "other" if the configuration does not list it. */
export type DatabaseLabel = (database: string) => string;

export function sessionMetrics(registry: Registry, label: DatabaseLabel): SessionMetrics {
  const open = gauge(registry, METRICS.clientConnections);
  const begun = tally(registry, METRICS.sessions);
  const ended = tally(registry, METRICS.sessionsEnded);
  const failed = tally(registry, METRICS.loginFailures);
  return {
    sessionOpened(database) {
      open.add(1, label(database));
      begun(1, label(database));
    },
    sessionClosed(database, reason) {
      open.add(-1, label(database));
      ended(1, reason);
    },
    loginFailed: (reason) => failed(1, loginReason(reason)),
  };
}
