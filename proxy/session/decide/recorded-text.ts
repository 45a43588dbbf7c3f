import type { Statement } from "../../sql/verdict.ts";
import { isUnreadable } from "../../sql/watched-text.ts";
import type { SessionParts } from "../context/parts.ts";
import type { Judged } from "../statement/decision.ts";

/** A verdict's statements belong to texts with one normalised form, which is made once. */
const normalised = new WeakMap<readonly Statement[], string>();

/** The text without its literals and comments, as the audit log has it; "" if it cannot be read. */
export function recordedText(
  { text, more, verdict }: Judged,
  { verdicts, normalise }: Pick<SessionParts, "verdicts" | "normalise">,
): string {
  // Its strings end elsewhere for the server, and all such texts share one verdict.
  if (isUnreadable(verdict)) return "";
  let known = normalised.get(verdict.statements);
  if (known === undefined) {
    known = verdicts.storedText(verdict.statements) ?? normalise(text, more);
    normalised.set(verdict.statements, known);
  }
  return known;
}
