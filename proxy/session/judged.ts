import type { Scope } from "../sql/scope.ts";
import type { Verdict } from "../sql/verdict.ts";

/** A text and what was decided about it. */
export interface Judged {
  /** As the client sent it. */
  readonly text: Buffer;
  readonly verdict: Verdict;
  readonly scope: Scope;
}
