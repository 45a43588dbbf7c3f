import type { Findings, TestEntry } from "../policy/test-format.ts";
import type { Explanation } from "../sql/explanation.ts";
import type { Refusal } from "../wire/refusal.ts";

/** What became of a statement; of a user who is not let in there is only the refusal. */
export type Outcome = Explanation | { readonly refusal: Refusal };

export interface Difference {
  /** The key of `expect` that does not hold; undefined: the whole of it. */
  readonly key?: keyof Findings;
  readonly expected: string;
  readonly found: string;
}

/** In what an outcome is not as expected: nothing, when all holds. */
export function differences({ expect, run }: TestEntry, outcome: Outcome): readonly Difference[] {
  const { refusal } = outcome;
  const said: Findings = typeof expect === "string" ? {} : expect;
  if (expect === "refused" || said.error !== undefined || said.rule !== undefined) {
    if (refusal === undefined) return [{ expected: "it is refused", found: verdictOf(outcome) }];
    if (expect === "refused" && MISTAKES.has(refusal.sqlstate))
      return [{ expected: "the policy refuses it", found: verdictOf(outcome) }];
    return ofRefusal(said, refusal);
  }
  if ("verdict" in outcome && refusal === undefined) {
    if (expect !== "unchanged") return ofAllowed(said, outcome, outcome.sent ?? run);
    return outcome.sent === undefined
      ? []
      : [{ expected: "it passes unchanged", found: `it is rewritten: ${outcome.sent}` }];
  }
  return [{ expected: "it is allowed", found: verdictOf(outcome) }];
}

/** They say that the statement is wrong, whoever sends it: a test with a misspelt name must not hold for that. */
const MISTAKES: ReadonlySet<Refusal["sqlstate"]> = new Set(["42601", "42P01", "42883"]);

function verdictOf(outcome: Outcome): string {
  if (outcome.refusal === undefined) return `it ${"verdict" in outcome ? outcome.verdict : ""}`;
  const { sqlstate, message, rule } = outcome.refusal;
  return `it is refused: ${sqlstate}: ${message}${rule === undefined ? "" : ` (${rule})`}`;
}

function ofRefusal({ error, rule }: Findings, refusal: Refusal): readonly Difference[] {
  const found = verdictOf({ refusal });
  return [
    ...(error === undefined || error === refusal.sqlstate
      ? []
      : [{ key: "error" as const, expected: `it is refused with ${error}`, found }]),
    ...(rule === undefined || rule === refusal.rule
      ? []
      : [{ key: "rule" as const, expected: `it is refused by ${rule}`, found }]),
  ];
}

function ofAllowed(said: Findings, found: Explanation, sent: string): readonly Difference[] {
  const list: Difference[] = [];
  for (const key of ["masked", "reads", "writes", "counts", "reveals"] as const) {
    const [expected, is] = [said[key], found[key]].map((names) => names && [...new Set(names)].sort());
    if (expected === undefined || String(expected) === String(is)) continue;
    list.push({ key, expected: `${key} ${shown(expected)}`, found: shown(is ?? []) });
  }
  if (said.lookups !== undefined && said.lookups !== found.lookups)
    list.push({ key: "lookups", expected: `${said.lookups} lookups`, found: String(found.lookups) });
  const rows = found.rows ?? "none";
  if (said.rows !== undefined && said.rows !== rows)
    list.push({ key: "rows", expected: `a limit of ${said.rows} rows`, found: String(rows) });
  for (const [key, wanted] of [
    ["sent", true],
    ["not_sent", false],
  ] as const) {
    for (const piece of [said[key] ?? []].flat()) {
      if (sent.includes(piece) === wanted) continue;
      const expected = `${wanted ? "" : "no "}${JSON.stringify(piece)} in what is sent`;
      list.push({ key, expected, found: sent });
    }
  }
  return list;
}

function shown(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.join(", ");
}
