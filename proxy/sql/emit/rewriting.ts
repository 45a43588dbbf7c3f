import type { InsertStmt } from "libpg-query";
import type { Source } from "../parse/source.ts";
import type { JudgedStatement } from "../rules/findings.ts";

/** A statement whose new text is being made, and the text that contains it. */
export interface Rewriting extends JudgedStatement {
  readonly source: Source;
  /** Where ON CONFLICT clauses begin (byte offsets): a query before one ends there. */
  readonly conflictClauses: ReadonlySet<number>;
}

export function rewritingOf(source: Source, judged: JudgedStatement): Rewriting {
  const conflicts = judged.bound.queries.flatMap(({ form, node }) =>
    form === "insert" ? ((node as InsertStmt).onConflictClause?.location ?? []) : [],
  );
  return { ...judged, source, conflictClauses: new Set(conflicts) };
}
