import type { Place } from "./policy.ts";

/** A problem in a policy: where it is, what is wrong, and what would be right. */
export interface PolicyProblem {
  /** A warning leaves the policy in force; an error rejects the policy. */
  readonly severity: "error" | "warning";
  readonly place: Place;
  readonly message: string;
  readonly hint: string;
  /** The table that the database does not have, or has without the column: `serve` refuses the policy. */
  readonly missing?: string;
}

/** `policies/support.yaml:12:5: error: …`, with the hint on a line of its own. */
export function describeProblem(problem: PolicyProblem): string {
  const { file, line, column } = problem.place;
  const head = `${file}:${line}:${column}: ${problem.severity}: ${problem.message}`;
  return problem.hint === "" ? head : `${head}\n  hint: ${problem.hint}`;
}

/** Problems in the order of files and lines. */
export function sortProblems(problems: readonly PolicyProblem[]): readonly PolicyProblem[] {
  return [...problems].sort(
    (a, b) =>
      a.place.file.localeCompare(b.place.file) ||
      a.place.line - b.place.line ||
      a.place.column - b.place.column ||
      a.message.localeCompare(b.message),
  );
}

/** A position, as written within a sentence. */
export function at(place: Place): string {
  return `${place.file}:${place.line}`;
}

/** Collects problems; the same problem found again for another database counts once. */
export class Problems {
  readonly #found = new Map<string, PolicyProblem>();

  error(place: Place, message: string, hint: string): void {
    const key = `${place.file}:${place.line}:${place.column}:${message}`;
    if (!this.#found.has(key)) this.#found.set(key, { severity: "error", place, message, hint });
  }

  add(problems: readonly PolicyProblem[]): void {
    for (const { place, message, hint } of problems) this.error(place, message, hint);
  }

  get list(): readonly PolicyProblem[] {
    return sortProblems([...this.#found.values()]);
  }
}

/** `Did you mean "reads"?` if a known name is close, otherwise `otherwise`. */
export function suggest(given: string, known: Iterable<string>, otherwise: string): string {
  const best = nearest(given, known);
  if (best === undefined) return otherwise;
  return otherwise === "" ? `Did you mean "${best}"?` : `Did you mean "${best}"? ${otherwise}`;
}

/** The known name that a misspelt one most likely means. */
export function nearest(given: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(given.length / 3)) + 1;
  for (const name of known) {
    const distance = editDistance(given.toLowerCase(), name.toLowerCase());
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** Optimal string alignment distance: swapping two adjacent characters counts as one mistake, as in typing. */
function editDistance(a: string, b: string): number {
  // Typing errors in long texts do not matter, and the table would be large.
  if (a.length > 64 || b.length > 64) return Number.POSITIVE_INFINITY;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
