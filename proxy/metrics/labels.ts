import type { StatementEvent } from "../audit/event.ts";
import { TAGS, UNKNOWN_TAG } from "../pg/statements.ts";
import { keyReason } from "../policy/rules/all.ts";

/** Values of labels: closed lists. Any other value becomes "other", so that no client can create a series. */

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

const SQLSTATES = new Set(
  (
    "08006,08P01,0A000,22021,22023,25P03,26000,28000,28P01,34000,42501,42601,42883,42P01,53300,53400,54000,54001," +
    "57014,57P01,57P03,57P05,58000,XX000"
  ).split(","),
);

/** The purposes of Redis commands. */
export const REDIS_OPERATIONS = [
  "charge",
  "profile",
  "control",
  "cases",
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
  return TAGS.has(command) ? command : UNKNOWN_TAG;
}

export function sqlstateLabel(sqlstate = ""): string {
  return SQLSTATES.has(sqlstate) ? sqlstate : "other";
}

/** Reasons by SQLSTATE, if no policy line could have allowed the statement. */
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

/** Why a statement was refused or cut short: by the policy line that did it, or else by the SQLSTATE. */
export function denialReason({ rule, role, sqlstate = "" }: StatementEvent): string {
  if (rule === "on_audit_loss") return "audit";
  const own = `roles.${role}`;
  if (rule === own) return "statement_kind";
  if (rule?.startsWith(`${own}.`)) {
    const [key = "", ...rest] = rule.slice(own.length + 1).split(".");
    const reason = keyReason(key) ?? "other";
    return reason === "budget" ? measureOf(rest) : reason;
  }
  // The budget may be set in a role that this one extends.
  if (sqlstate === "53400") return measureOf(rule?.split(".") ?? []);
  return (rule === undefined ? REASON_OF_SQLSTATE.get(sqlstate) : undefined) ?? "other";
}

/** The measure that was used up, from the end of a budget's policy line. */
function measureOf(path: readonly string[]): string {
  // `roles.agent.reveals.phone.1d`
  if (path.at(-3) === "reveals") return "reveals";
  const what = path.at(-1) ?? "";
  return what === "lookups" || what === "changes" ? what : "budget";
}

/** Why a signed claim was rejected. */
export const CLAIM_REJECTIONS = ["expired", "signature", "keys", "claims", "malformed", "long"] as const;
export type ClaimRejection = (typeof CLAIM_REJECTIONS)[number];
