import type { CreateTableAsStmt, ExplainStmt, InsertStmt, Node } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { storedDependsOn } from "../bind/dependencies.ts";
import { nodeOf } from "../parse/grammar.ts";
import { optionNames } from "../parse/options.ts";
import type { RawStatement } from "../parse/parse.ts";
import type { Given } from "./given.ts";
import { isProtected, keyOfPerson } from "./people.ts";
import { arePinned, isOfOnePerson } from "./pinned-people.ts";
import { choiceOfRows } from "./write-choice.ts";

/**
 * How many people each row shows that a statement of a watched role stores elsewhere: whoever reads it there is not counted, so
 * the copy is. The same for rows that it gives to another person, under whose name they are read then. Infinity: a row may hold the
 * values of any number. Undefined: it does neither.
 */
export function peopleCopied(
  { node }: RawStatement,
  statement: BoundStatement,
  given: Given,
): number | undefined {
  const [type, body] = nodeOf(node);
  if (type === "ExplainStmt" && !optionNames((body as ExplainStmt).options).includes("analyze"))
    return undefined;
  if (type === "CreateTableAsStmt" && isExecute((body as CreateTableAsStmt).query)) return 1;
  const writes = statement.queries.filter(({ write }) => write !== undefined);
  const { top, kind } = statement;
  const stored = kind === "create as" && top !== undefined ? [...writes, top] : writes;
  const copied = new Set(stored.flatMap((query) => relationsCopied(statement, given, query)));
  if (top === undefined) return undefined;
  const moves = writes.some((query) => movesRows(statement, given, query)) ? 1 : 0;
  if (copied.size + moves === 0) return undefined;
  const gathers = statement.queries.some(isGathered) && !arePinned(statement, given, top);
  // The tag says how many rows one write of several has stored, and EXPLAIN's says nothing.
  const isToldRows = stored.length === 1 && stored[0] === top && kind !== "explain";
  return gathers || !isToldRows ? Number.POSITIVE_INFINITY : copied.size + moves;
}

/**
 * Rows whose person changes. One row, and rows of one person, are free: an ORM that saves all columns of a row writes its
 * unchanged key as well.
 */
function movesRows(statement: BoundStatement, given: Given, query: BoundQuery): boolean {
  const { write, form, node } = query;
  if (write === undefined || !write.assigned.some((column) => keyOfPerson(given.sights, column)))
    return false;
  const { onConflictClause, selectStmt } = node as InsertStmt;
  // Rows of VALUES are the client's own.
  if (form === "insert")
    return (
      onConflictClause?.action === "ONCONFLICT_UPDATE" &&
      selectStmt !== undefined &&
      write.source?.form !== "values"
    );
  return choiceOfRows(statement, query) === "many" && !isOfOnePerson(statement, given, query);
}

function relationsCopied(
  statement: BoundStatement,
  { sights }: Given,
  query: BoundQuery,
): readonly BoundRelation[] {
  const isCopied = (column: BoundColumn): boolean =>
    column.relation !== query.write?.target &&
    // What is in a temporary table has been counted on its way there, or came from the client.
    column.relation.source.kind === "table" &&
    isProtected(sights, column);
  return [...storedDependsOn(statement, query).columns].filter(isCopied).map(({ relation }) => relation);
}

function isGathered({ aggregates, traits, calls }: BoundQuery): boolean {
  return aggregates.length > 0 || traits.isWindowed || calls.some(({ form }) => form === "syntax");
}

/** What was prepared under a name: it is not looked up here. */
function isExecute(query: Node | undefined): boolean {
  return query !== undefined && nodeOf(query)[0] === "ExecuteStmt";
}
