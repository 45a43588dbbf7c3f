import { applyInOrder } from "./emit/rewrite.ts";
import type { Edit, Verdict } from "./verdict.ts";

/** A verdict for all texts of a shape: the same edits, at positions that shift with the lengths of the literals. */
export interface Template {
  readonly verdict: Verdict;
  /** Literals of the text that was analysed; empty if the verdict applies to that text only. */
  readonly literals: readonly number[];
}

/** Whether a verdict's edits leave the literals unchanged: they then fit all texts of the shape. */
export function fitsShape(verdict: Verdict, literals: readonly number[]): boolean {
  switch (verdict.kind) {
    case "pass":
      return true;
    case "rewrite":
      return !verdict.edits.some((edit) => touches(edit, literals));
    case "refuse":
      // Its message may contain a position in the text.
      return false;
  }
}

/** The verdict for another text of the shape, equal to what the analysis would return. */
export function instantiate(
  { verdict, literals: known }: Template,
  sql: Buffer,
  literals: readonly number[],
): Verdict {
  if (verdict.kind === "refuse" || known.length === 0) return verdict;
  const { statements } = verdict;
  const places = verdict.places?.map((place) => literals[known.indexOf(place)] ?? NOWHERE);
  const said = { statements, ...(places !== undefined && { places }) };
  if (verdict.kind === "pass") return places === undefined ? verdict : { kind: "pass", ...said };
  const edits: Edit[] = [];
  let shift = 0;
  let next = 0;
  for (const { at, end, text } of verdict.edits) {
    for (; (known[next] ?? Number.POSITIVE_INFINITY) < at; next += 2) {
      shift += lengthAt(literals, next) - lengthAt(known, next);
    }
    edits.push({ at: at + shift, end: end + shift, text });
  }
  return { kind: "rewrite", ...said, sql: applyInOrder(sql, edits), edits };
}

/** An offset that no text has: no constant is found there. */
const NOWHERE = -1;

function lengthAt(literals: readonly number[], index: number): number {
  return (literals[index + 1] ?? 0) - (literals[index] ?? 0);
}

/** Whether an edit removes a literal, wholly or in part. */
function touches({ at, end }: Edit, literals: readonly number[]): boolean {
  for (let i = 0; i < literals.length; i += 2) {
    if ((literals[i] ?? 0) < end && (literals[i + 1] ?? 0) > at) return true;
  }
  return false;
}
