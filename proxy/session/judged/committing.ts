import type { Scope } from "../../sql/scope.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { Judged } from "../statement/decision.ts";
import { UNKNOWN_STATEMENT } from "../statement/run.ts";

export const COMMITTING: Statement = { ...UNKNOWN_STATEMENT, command: "COMMIT", kind: "transaction" };

const TEXT = Buffer.from("COMMIT");
const VERDICT = { kind: "pass", statements: [COMMITTING] } as const;

/** What a Sync commits goes on record as a COMMIT. */
export function commitIn(scope: Scope): Judged {
  return { text: TEXT, verdict: VERDICT, scope };
}
