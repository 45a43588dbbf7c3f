import type { Registry } from "prom-client";
import type { SessionEndReason } from "../wire/refusal.ts";
import { METRICS } from "./definitions.ts";
import { loginReason } from "./labels.ts";
import { gauge, tally } from "./series.ts";

/** Who is there, who came and who left. */
export interface SessionMetrics {
  sessionOpened(database: string): void;
  sessionClosed(database: string, reason: SessionEndReason): void;
  /** reason: password, no_role, timeout, protocol, upstream. */
  loginFailed(reason: string): void;
}

/** Of a name that the configuration has not, "other". */
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
