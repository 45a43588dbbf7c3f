/**
 * The stages that turn a statement of a guarded role into a verdict: read this table first. Each stage is a pure
 * function of the results of the stages before it; none looks back, and none changes its input. The order of the rules
 * is the list in rules/judge.ts.
 */
export type StageName = "parse" | "bind" | "rules" | "emit" | "verify";

export interface Stage {
  readonly name: StageName;
  /** The question that the stage answers. */
  readonly asks: string;
  readonly takes: readonly string[];
  readonly gives: string;
  /** Below proxy/sql/. */
  readonly folder: string;
  /** What the folder may import from outside itself, relative to proxy/sql/. A test enforces it. */
  readonly imports: readonly string[];
}

export const STAGES: readonly Stage[] = [
  {
    name: "parse",
    asks: "Is it a statement, and of known grammar?",
    takes: ["the text"],
    gives: "Postgres's own parse tree, with the place of each node",
    folder: "parse",
    imports: ["../parser/", "../wire/refusal.ts"],
  },
  {
    name: "bind",
    asks: "What does each name mean, and what does the answer depend on?",
    takes: ["the tree", "the catalog", "search_path", "columns that cannot be named"],
    gives: "BoundStatement (bind/bound.ts): queries, relations, columns, outputs, meanings of names",
    folder: "bind",
    imports: ["parse/", "../catalog/"],
  },
  {
    name: "rules",
    asks: "May this role do that, what does it see of it, what does it cost?",
    takes: ["the bound statement", "the role's view of each relation"],
    gives: "findings: refusals, masks, lookups, conditions to add, prices, columns to append",
    folder: "rules",
    imports: [
      "bind/",
      "comparisons.ts",
      "functions.ts",
      "lineage.ts",
      "parse/",
      "purposes.ts",
      "scope.ts",
      "session-settings.ts",
      "sight.ts",
      "subjects.ts",
      "system-relations.ts",
      "indexed.ts",
      "own-rights.ts",
      "reads-more.ts",
      "tokens/",
      "hidden-traces.ts",
      "unnamed-code.ts",
      "verdict.ts",
      "../catalog/",
      "../pg/",
      "../policy/",
      "../wire/refusal.ts",
    ],
  },
  {
    name: "emit",
    asks: "Which text says so?",
    takes: ["the bound statement", "the findings", "the text"],
    gives: "edits, each at the place of a node of the tree",
    folder: "emit",
    imports: [
      "bind/",
      "rules/",
      "parse/",
      "comparisons.ts",
      "purposes.ts",
      "refused.ts",
      "sight.ts",
      "subjects.ts",
      "verdict.ts",
      "../catalog/",
      "../policy/",
      "../wire/refusal.ts",
      "../pg/quote.ts",
    ],
  },
  {
    name: "verify",
    asks: "Does the new text say that and nothing else?",
    takes: ["the new text", "the edits"],
    gives: "the verdict, or a refusal that names the fault",
    folder: "verify",
    imports: [
      "bind/",
      "parse/",
      "emit/",
      "scope.ts",
      "sight.ts",
      "system-relations.ts",
      "verdict.ts",
      "../catalog/",
      "../parser/",
    ],
  },
];
