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
  /** Statement decisions, refusals by SQLSTATE, rows, bytes, people, duration. */
  statement(event: StatementEvent): void;
  verdictCache(hit: boolean): void;
  /** Seconds of analysis (cache misses). */
  analysed(seconds: number): void;
  /** The verification pass found a guarded relation left over: must stay 0. */
  verificationFailed(): void;
  policyReloaded(ok: boolean): void;
  countersReady(ready: boolean): void;
  catalogRefreshed(at: number): void;
  auditLost(events: number): void;
  /** The text of `/metrics`, and its content type. */
  exposition(): Promise<{ readonly contentType: string; readonly text: string }>;
}
