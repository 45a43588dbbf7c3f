import type { BoundStatement } from "../bind/bound.ts";
import { locksRows } from "../bind/questions.ts";
import type { Given } from "./given.ts";
import { ownCalls } from "./people-shown.ts";

/**
 * `push_limit`: the number of rows that the server may return for a SELECT. Not if the statement has a limit of its
 * own, or does something with each row: locks it, writes, calls user-defined functions.
 */
export function pushedLimit(statement: BoundStatement, given: Given): number | undefined {
  const { rows, pushed } = given.role.limits;
  const { kind, queries, top } = statement;
  if (!pushed || rows === undefined || (kind !== "select" && kind !== "values")) return undefined;
  const isRead = queries.every(({ write }) => write === undefined);
  const isOpen = top !== undefined && top.clauses.limit === undefined && !locksRows(statement);
  return isRead && isOpen && ownCalls(statement, given) === 0 ? rows + 1 : undefined;
}
