import type { Role } from "../policy/policy.ts";
import type { Analysis, RelationUse } from "./analysis.ts";
import type { Statement } from "./verdict.ts";
import { hasRulesOnWrites } from "./write-rules.ts";

/*
 * What a statement writes is known by its command tag alone, which counts the rows of the statement itself and of
 * nothing else (Postgres docs, "CommandComplete").
 */

/** What the rows that the tag tells of are counted for; refuses what would write rows that no tag tells of. */
export function writtenRows(
  analysis: Analysis,
  tagged: RelationUse | undefined,
): Pick<Statement, "changes"> | undefined {
  if (analysis.writes.size === 0) return undefined;
  const { role } = analysis.scope;
  const key = keyOfWrites(role);
  for (const use of analysis.uses) {
    if (use.isTarget && use !== tagged && isHeld(role, use.sight?.people !== undefined))
      analysis.deny(
        `role "${role.name}" may not write ${use.key} inside another statement: how many rows it writes is told by nothing`,
        key,
        "Send the INSERT, UPDATE, DELETE or MERGE as a statement of its own; RETURNING gives its rows.",
      );
  }
  if (
    tagged !== undefined &&
    hasRulesOnWrites(analysis, tagged.relation) &&
    isHeld(role, tagged.sight?.people !== undefined)
  )
    analysis.deny(
      `role "${role.name}" may not write ${tagged.key}: there are rules on writes, and how many rows they write is told by nothing`,
      key,
      "Use a trigger in place of the rules.",
    );
  return tagged && { changes: tagged.sight?.people === undefined ? "rows" : "people" };
}

/** EXPLAIN ANALYZE runs a write, and its tag says nothing of it. */
export function refuseWriteInExplain(analysis: Analysis, changes: Statement["changes"]): void {
  const { role } = analysis.scope;
  if (!isHeld(role, changes === "people")) return;
  analysis.deny(
    `role "${role.name}" may not use EXPLAIN ANALYZE on a write: how many rows it writes is told by nothing`,
    keyOfWrites(role),
    "Use EXPLAIN without ANALYZE.",
  );
}

/** Whether the role may write so many rows and no more, of a table with people or of any. */
function isHeld({ limits, budget }: Role, hasPeople: boolean): boolean {
  return limits.changes !== undefined || (hasPeople && budget.some(({ what }) => what === "changes"));
}

function keyOfWrites({ limits }: Role): string {
  return limits.changes === undefined ? "budget" : "changes";
}
