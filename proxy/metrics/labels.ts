import type { StatementEvent } from "../audit/event.ts";

/** Values of labels: closed lists. What is in none of them is "other", so that no client makes a series. */

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
    "08006,08P01,0A000,22021,22023,25P03,26000,28000,28P01,34000,42501,42601,42883,42P01,53300,53400,54000,54001," +
    "57014,57P01,57P03,57P05,58000,XX000"
  ).split(","),
);

/** What asks Redis something. */
export const REDIS_OPERATIONS = [
  "charge",
  "profile",
  "control",
  "sessions",
  "cancel",
  "console",
  "audit",
] as const;
export type RedisOperation = (typeof REDIS_OPERATIONS)[number];

export function loginReason(reason: string): string {
  return LOGIN_REASONS.has(reason) ? reason : "other";
}

export function commandLabel(command: string): string {
  return COMMANDS.has(command) ? command : "OTHER";
}

export function sqlstateLabel(sqlstate = ""): string {
  return SQLSTATES.has(sqlstate) ? sqlstate : "other";
}

/** Keys of a role in the policy, by what a statement did that they stand against. */
const REASON_OF_KEY: ReadonlyMap<string, string> = new Map([
  ["reads", "relation"],
  ["writes", "write"],
  ["sees", "column"],
  ["finds", "column"],
  ["calls", "function"],
  ["only", "filter"],
  ["require_filter", "filter"],
  ["aggregates_only", "summaries"],
  ["rows", "rows"],
  ["bytes", "bytes"],
  ["changes", "changes"],
  ["budget", "budget"],
  ["role_budget", "budget"],
  ["address_budget", "budget"],
]);

/** Where no policy line could allow it. */
const REASON_OF_SQLSTATE: ReadonlyMap<string, string> = new Map([
  ["22021", "not_understood"],
  ["42501", "not_understood"],
  ["42601", "not_understood"],
  ["42883", "function"],
  ["42P01", "relation"],
  ["28000", "suspended"],
  ["57014", "time"],
  ["54001", "too_long"],
  ["58000", "counters"],
]);

/** Why a statement was refused or cut short: from the policy line that did it, or else from the SQLSTATE. */
export function denialReason({ rule, role, sqlstate = "" }: StatementEvent): string {
  if (rule === "on_audit_loss") return "audit";
  const own = `roles.${role}`;
  if (rule === own) return "statement_kind";
  if (rule?.startsWith(`${own}.`)) {
    const [key = "", ...rest] = rule.slice(own.length + 1).split(".");
    const reason = REASON_OF_KEY.get(key) ?? "other";
    return reason === "budget" ? measureOf(rest) : reason;
  }
  // A budget may be set in the role that this one extends.
  if (sqlstate === "53400") return measureOf(rule?.split(".") ?? []);
  return (rule === undefined ? REASON_OF_SQLSTATE.get(sqlstate) : undefined) ?? "other";
}

/** What was used up, from the end of a budget's line. */
function measureOf(path: readonly string[]): string {
  const what = path.at(-1) ?? "";
  return what === "lookups" || what === "changes" ? what : "budget";
}
