import type { FuncCall } from "libpg-query";
import type { BoundQuery, BoundRelation, BoundStatement, Call } from "../bind/bound.ts";
import { allDependsOn, dependsOnNodes } from "../bind/dependencies.ts";
import { type Body, forEachChild, lastName, visitNode } from "../parse/grammar.ts";
import { someObject } from "../parse/tree.ts";
import { RUNS_TEXT } from "../unnamed-code.ts";
import { functionsMeant } from "./calls.ts";
import { isFound } from "./copied-row.ts";
import type { Given } from "./given.ts";
import { isUndone, keepsValues, keptInView, readsNothing } from "./keeping-functions.ts";
import { hasProtected, sightOf } from "./people.ts";
import { arePinned } from "./pinned-people.ts";

/*
 * Calls that keep something where it is read by no query of a table: settings by SHOW, large objects, notifications, locks by
 * pg_locks, sequences. What a call keeps says something of a person by its argument, and by being made at all.
 */

/** What calls keep of protected values. */
export interface KeptByCalls {
  /** Each row that the client gets shows all that was kept for it. */
  readonly inRows: boolean;
  /** Not all of it is undone with its transaction. */
  readonly isForGood: boolean;
}

/** How often it was called is a number for the whole statement: what matters is which sequence. */
const COUNTER = "nextval";

/** Undefined: no calls keep anything of anybody. */
export function keptByCalls(statement: BoundStatement, given: Given): KeptByCalls | undefined {
  const made = statement.queries.flatMap((query) =>
    query.calls.filter((call) => keeps(given, call)).map((call) => ({ query, call })),
  );
  const inViews = keptInViews(statement, given);
  if (made.length + inViews.length === 0 || !speaksOfProtected(statement, given)) return undefined;
  if (inViews.length > 0) return { inRows: false, isForGood: !inViews.every(isUndone) };
  const kept = made.filter(({ query, call }) => !isCounter(statement, given, query, call));
  if (kept.length === 0) return undefined;
  const found = callsInRows(statement, given);
  const inRows = kept.every(({ call }) => found.has(call.node));
  // The server is ahead of what the client gets: by nothing, where there is one row.
  const isOfOne = inRows && statement.top !== undefined && arePinned(statement, given, statement.top);
  return { inRows, isForGood: !isOfOne && kept.some(({ call }) => !isUndone(call.name)) };
}

function keeps({ catalog }: Given, call: Call): boolean {
  return functionsMeant(catalog, call).some(keepsValues);
}

/** Names of functions that views call: how often, no statement says. */
function keptInViews({ queries }: BoundStatement, { catalog }: Given): readonly string[] {
  return queries
    .flatMap(({ relations }) => relations)
    .flatMap(({ source }) => (source.kind === "table" ? [...keptInView(catalog, source.relation)] : []));
}

/** nextval() of a sequence that no protected value chooses. */
function isCounter(statement: BoundStatement, given: Given, query: BoundQuery, call: Call): boolean {
  const { args } = call.node as { readonly args?: Parameters<typeof dependsOnNodes>[1] };
  if (call.form !== "function" || call.name !== COUNTER || args === undefined) return false;
  return !hasProtected(given.sights, dependsOnNodes(statement, args, query).columns);
}

function speaksOfProtected(statement: BoundStatement, given: Given): boolean {
  const found = allDependsOn(statement);
  const { top } = statement;
  const reads = ({ source }: BoundRelation) =>
    source.kind !== "table" || !readsNothing(given.catalog, source.relation);
  const others = [...found.columns].filter(
    (column) => reads(column.relation) && (top === undefined || !isFound(statement, top, column)),
  );
  return (
    hasProtected(given.sights, others) ||
    [...found.relations].some(
      (reference) => reads(reference) && sightOf(given.sights, reference)?.isChosen === true,
    )
  );
}

const NONE: ReadonlySet<Body> = new Set();

/** Nodes of the calls that are made once for each row that leaves, and keep no more people than are counted with it. */
function callsInRows({ kind, top, queries }: BoundStatement, { sights }: Given): ReadonlySet<Body> {
  if (top === undefined || queries.length !== 1 || !OF_ROWS.has(kind) || !isPlain(top)) return NONE;
  const isOfMore = top.relations.some((reference) => {
    const sight = sightOf(sights, reference);
    return sight?.gathers === true || (sight?.people?.unknown ?? 0) > 0;
  });
  if (isOfMore) return NONE;
  const found = new Set<Body>();
  const look = (type: string, body: Body): void => {
    if (type === "FuncCall") found.add(body);
    forEachChild(type, body, look);
  };
  const { targets = [], returning = [] } = top.clauses;
  for (const node of [...(top.form === "select" ? targets : []), ...returning]) visitNode(node, look);
  return found;
}

const OF_ROWS: ReadonlySet<string> = new Set(["select", "insert", "update", "delete", "merge"]);

/**
 * DISTINCT, OFFSET, a lock that skips rows, and a sort before LIMIT compute rows that do not leave. LIMIT alone asks for no
 * more rows than it gives.
 */
function isPlain({ clauses, traits, aggregates }: BoundQuery): boolean {
  const { isDistinct, isGrouped, isAggregated, isWindowed, makesRows } = traits;
  if (isDistinct || isGrouped || isAggregated || isWindowed || makesRows || aggregates.length > 0)
    return false;
  const { offset, locking, limit, sort } = clauses;
  return offset === undefined && locking === undefined && (limit === undefined || sort === undefined);
}

/** Whether it may call a function that runs a text, or reads a table of any name: what that reads and keeps is not bound. */
export function runsText(body: object): boolean {
  return someObject(
    body,
    (field, object) => field === "FuncCall" && RUNS_TEXT.has(lastName((object as FuncCall).funcname)),
  );
}
