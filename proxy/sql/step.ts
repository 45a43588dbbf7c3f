import type { TreeReader } from "./tree-text.ts";

/** A part of the client's tree in whose place the rewritten one differs: `take` reads what is there, or finds it wrong. */
export interface Step {
  readonly start: number;
  readonly end: number;
  readonly take: (rewritten: TreeReader) => boolean;
}

/** Something more in the rewritten tree, before what the client's has there. */
export function insertion(at: number, take: Step["take"]): Step {
  return { start: at, end: at, take };
}
