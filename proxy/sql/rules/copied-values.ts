import type { CreateTableAsStmt, DefElem, ExplainStmt, InsertStmt, Node, ResTarget } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, Call } from "../bind/bound.ts";
import { dependsOnNodes, storedDependsOn } from "../bind/dependencies.ts";
import { nodeOf } from "../parse/grammar.ts";
import { isOff } from "../parse/options.ts";
import type { RawStatement } from "../parse/parse.ts";
import { someObject } from "../parse/tree.ts";
import { isSystemSchema } from "../system-relations.ts";
import { RUNS_TEXT } from "../unnamed-code.ts";
import { functionsMeant } from "./calls.ts";
import type { Given } from "./given.ts";
import { keepsElsewhere } from "./kept-by-calls.ts";
import { isProtected, keyOfPerson, sightOf } from "./people.ts";
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
  const ran = ranBy(node);
  const [type, body] = ran === undefined ? [] : nodeOf(ran);
  if (type === undefined || body === undefined) return undefined;
  const made = type === "CreateTableAsStmt" ? (body as CreateTableAsStmt) : undefined;
  if (made?.into?.skipData === true) return undefined;
  // What was prepared under a name is not looked up here.
  if (type === "ExecuteStmt") return ran === node ? undefined : Number.POSITIVE_INFINITY;
  if (made?.query !== undefined && nodeOf(made.query)[0] === "ExecuteStmt") return Number.POSITIVE_INFINITY;
  const writes = statement.queries.filter(({ write }) => write !== undefined);
  const { top, kind } = statement;
  const makesTable = kind === "create as" || made !== undefined;
  const stored = makesTable && top !== undefined ? [...writes, top] : writes;
  if (stored.length > 0 && runsText(body)) return Number.POSITIVE_INFINITY;
  const copied = new Set(stored.flatMap((query) => relationsCopied(statement, given, query)));
  const moves = writes.some((query) => movesRows(statement, given, query)) ? 1 : 0;
  if (keepsElsewhere(statement, given)) return Number.POSITIVE_INFINITY;
  if (copied.size + moves === 0 || top === undefined) return undefined;
  if ([...copied].some((relation) => isOfMany(given, relation))) return Number.POSITIVE_INFINITY;
  const gathers =
    (statement.recursive.size > 0 || statement.queries.some((query) => isGathered(given, query))) &&
    !arePinned(statement, given, top);
  // The tag says how many rows one write of several has stored, and EXPLAIN's says nothing.
  const isToldRows = stored.length === 1 && stored[0] === top && ran === node;
  return gathers || !isToldRows ? Number.POSITIVE_INFINITY : copied.size + moves;
}

/** The statement itself; of EXPLAIN the one that it runs, if it does. */
function ranBy(node: Node): Node | undefined {
  const [type, body] = nodeOf(node);
  if (type !== "ExplainStmt") return node;
  const { options = [], query } = body as ExplainStmt;
  // The last of several wins (ParseExplainOptionList of commands/explain_state.c).
  const analyze = options
    .map((option) => nodeOf(option)[1] as DefElem)
    .findLast(({ defname }) => defname === "analyze");
  return analyze === undefined || isOff(analyze) ? undefined : query;
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
  given: Given,
  query: BoundQuery,
): readonly BoundRelation[] {
  const { sights } = given;
  const isCopied = (column: BoundColumn): boolean =>
    column.relation !== query.write?.target &&
    // What is in a temporary table has been counted on its way there, or came from the client.
    column.relation.source.kind === "table" &&
    (isSystemSchema(column.relation.source.relation.schema)
      ? isSampled(column.relation)
      : isProtected(sights, column));
  const { columns } = storedDependsOn(statement, query);
  const others = [...columns].filter(isCopied).map(({ relation }) => relation);
  return unprotects(statement, given, query) ? [...others, query.write.target] : others;
}

/**
 * Whether a row's own protected values go into a column of it that is not protected, from where they could be copied without
 * being counted.
 */
function unprotects(
  statement: BoundStatement,
  { sights }: Given,
  query: BoundQuery,
): query is BoundQuery & { readonly write: { readonly target: BoundRelation } } {
  const target = query.write?.target;
  const sight = target && sightOf(sights, target);
  if (sight === undefined) return false;
  return (query.clauses.assignments ?? []).some((node) => {
    const [type, body] = nodeOf(node);
    const { name, val } = type === "ResTarget" ? (body as ResTarget) : {};
    const column = sight.columns.find((each) => each.column.name === name);
    if (val === undefined || column === undefined || column.isProtected) return false;
    if (isShort(column.column.typeOid)) return false;
    const { columns } = dependsOnNodes(statement, [val], query);
    return [...columns].some((each) => each.relation === target && isProtected(sights, each));
  });
}

/** Types of 32 bits at most, by their OIDs (pg_type.dat): bool, "char", int2, int4, float4, date. */
function isShort(typeOid: number): boolean {
  return SHORT.has(typeOid);
}

const SHORT: ReadonlySet<number> = new Set([16, 18, 21, 23, 700, 1082]);

/** A row of it shows many people: of a view that gathers, or of what ANALYZE has sampled. */
function isOfMany({ sights }: Given, reference: BoundRelation): boolean {
  return isSampled(reference) || sightOf(sights, reference)?.gathers === true;
}

/** pg_statistic and the views over it. */
function isSampled({ source }: BoundRelation): boolean {
  if (source.kind !== "table") return false;
  const { schema, name } = source.relation;
  return isSystemSchema(schema) && /^pg_(?:stats|statistic)/.test(name);
}

/** A function that the catalog does not have may be an aggregate: a temporary one, or one of this very transaction. */
function isGathered({ catalog }: Given, { aggregates, traits, calls }: BoundQuery): boolean {
  const isUnknown = (call: Call) => call.form === "function" && functionsMeant(catalog, call).length === 0;
  return (
    aggregates.length > 0 ||
    traits.isWindowed ||
    calls.some((call) => call.form === "syntax" || isUnknown(call))
  );
}

/** Whether it may call a function that runs a text, or reads a table of any name: what that reads is not bound. */
function runsText(body: object): boolean {
  return someObject(body, (field, object) => {
    if (field !== "FuncCall" || !("funcname" in object) || !Array.isArray(object.funcname)) return false;
    const name: unknown = object.funcname.at(-1)?.String?.sval;
    return typeof name === "string" && RUNS_TEXT.has(name);
  });
}
