import type { TreeReader } from "../parse/tree-text.ts";

/** A part of the client's tree that differs in the rewritten one: `take` reads the new part, or finds it wrong. */
export interface Step {
  readonly start: number;
  readonly end: number;
  readonly take: (rewritten: TreeReader) => boolean;
}

/** An additional part in the rewritten tree, before the client's own part at this position. */
export function insertion(at: number, take: Step["take"]): Step {
  return { start: at, end: at, take };
}
