import type { Statement } from "../../sql/verdict.ts";
import { type Refusal, refuse, refuseSession } from "../../wire/refusal.ts";
import { isLimited } from "../statement/run.ts";

/** Whether its event must be on disk before the answer leaves: it tells of people, or it changes data. */
export function leavesTrace(statement: Statement): boolean {
  const { reads, writes, lookups } = statement;
  return isLimited(statement) || writes.length > 0 || (reads.length > 0 && lookups > 0);
}

const HINT = "The disk of the audit log may be full; the proxy's log has details. Try again later.";
const RULE = "on_audit_loss";

/** Told while the log takes nothing: nothing of the statement has reached the server. */
export function unrecorded(): Refusal {
  return refuse("58000", "the audit log cannot be written", { hint: HINT, rule: RULE });
}

/**
 * Told when the statement has run already and its event did not get to disk. The server has answered, so
 * only the end of the session keeps that answer back, and rolls back what is open.
 */
export function unrecordedAnswer(): Refusal {
  return refuseSession("58000", "the audit log cannot be written; the answer is held back", {
    detail: "Whether the last transaction was committed is not known.",
    hint: HINT,
    rule: RULE,
  });
}
