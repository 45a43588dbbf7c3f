/**
 * How a statement of a guarded role becomes a verdict: the table to read first. Each stage is a pure function of what the
 * stages before it gave; none looks back, none changes what it was given.
 *
 * `parse` and `bind` are built so. What the other stages are to do is still one walk over `Analysis` (analyse.ts);
 * docs/decisions.md, "Stages of the analysis", says which file of today goes where, and in what order.
 */
export interface Stage {
  readonly name: "parse" | "bind" | "rules" | "emit" | "verify";
  /** The question that it answers. */
  readonly asks: string;
  readonly takes: readonly string[];
  readonly gives: string;
  /** Below proxy/sql/; undefined for what is not a folder of its own yet. */
  readonly folder: string | undefined;
  /** What the folder may import from outside of itself, seen from proxy/sql/. A test holds it to that. */
  readonly imports: readonly string[];
}

export const STAGES: readonly Stage[] = [
  {
    name: "parse",
    asks: "Is it a statement, and of known grammar?",
    takes: ["the text"],
    gives: "Postgres's own parse tree, with the place of each node",
    folder: undefined,
    imports: [],
  },
  {
    name: "bind",
    asks: "What does each name mean, and what does the answer depend on?",
    takes: ["the tree", "the catalog", "search_path", "columns that cannot be named"],
    gives: "BoundStatement (bind/bound.ts): queries, relations, columns, outputs, meanings of names",
    folder: "bind",
    imports: ["effort.ts", "grammar.ts", "../catalog/"],
  },
  {
    name: "rules",
    asks: "May this role do that, what does it see of it, what does it cost?",
    takes: ["the bound statement", "the role's view of each relation"],
    gives: "findings: refusals, masks, look-ups, conditions to add, prices, what is to be appended",
    folder: "rules",
    imports: [
      "bind/",
      "comparisons.ts",
      "functions.ts",
      "grammar.ts",
      "sight.ts",
      "subjects.ts",
      "system-relations.ts",
      "../catalog/",
      "../policy/",
    ],
  },
  {
    name: "emit",
    asks: "Which text says so?",
    takes: ["the bound statement", "the findings", "the text"],
    gives: "edits, each at the place of a node of the tree",
    folder: undefined,
    imports: ["bind/", "rules/", "grammar.ts"],
  },
  {
    name: "verify",
    asks: "Does the new text say that and nothing else?",
    takes: ["the new text", "the edits"],
    gives: "the verdict, or a refusal that names the fault",
    folder: undefined,
    imports: ["bind/", "grammar.ts"],
  },
];
