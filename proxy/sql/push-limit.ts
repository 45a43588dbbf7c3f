import type { SelectStmt } from "libpg-query";
import type { Analysis } from "./analysis.ts";
import { locksRows } from "./bind/questions.ts";
import type { RawStatement } from "./parse.ts";
import type { Statement } from "./verdict.ts";

/**
 * `push_limit`: tells the server of the role's limit of rows, and one more, which shows that there were more. Not
 * where the statement has a limit of its own, or does something with each row: locks it, writes, calls functions of users.
 */
export function pushLimit(
  analysis: Analysis,
  body: SelectStmt,
  { end }: RawStatement,
  { kind, limited }: Statement,
): void {
  const { rows, pushed } = analysis.scope.role.limits;
  if (!pushed || rows === undefined || !limited || kind !== "read") return;
  if (body.limitCount !== undefined || locksRows(analysis.bound) || analysis.calls > 0) return;
  // On a line of its own: the statement may end in a comment.
  analysis.edit(end, end, `\nLIMIT ${rows + 1}`, { kind: "limit", statement: analysis.index });
}
