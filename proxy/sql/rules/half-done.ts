import { limitsReads, type Role } from "../../policy/policy.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Statement } from "../verdict.ts";

/**
 * A result that a limit cuts off fails its whole message, like any error. The server may have continued by then, and
 * later statements of the same message must not have written and committed anything.
 */
export function halfDone(statements: readonly Statement[], role: Role): Refusal | undefined {
  const { rows, bytes, onExcess } = role.limits;
  if (!limitsReads(role)) return undefined;
  const first = statements.findIndex(
    ({ limited, metering }) =>
      limited && metering !== undefined && (metering.subjects.length > 0 || metering.unknown > 0),
  );
  if (first < 0 || statements.length === 1) return undefined;
  const lasts = statements.some(
    ({ kind, effect }, index) =>
      index >= first &&
      (kind === "write" || kind === "copyIn" || (effect?.kind === "transaction" && effect.ends)),
  );
  if (!lasts && onExcess === "error") return undefined;
  return refuse(
    "42501",
    "a result that may be cut off cannot be followed by a write or COMMIT in one message",
    {
      rule: `roles.${role.name}.${rows === undefined && bytes === undefined ? "budget" : "rows"}`,
      hint: "Send the statements one by one.",
    },
  );
}
