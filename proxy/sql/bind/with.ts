import type { CommonTableExpr, RangeVar, WithClause } from "libpg-query";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { Binder } from "./binder.ts";
import type { BoundQuery, BoundRelation, WithQuery } from "./bound.ts";
import { findWith, type NameScope, type WithColumns, type WithEntry } from "./name-scope.ts";
import { checkAlias, makeRelation, outputColumns, type PlainColumn } from "./relation.ts";

export interface BoundWiths {
  /** The level's scope, in which the queries can be named. */
  readonly scope: NameScope;
  readonly withs: readonly WithQuery[];
}

/** A WITH clause: a query can refer to those before it, or to all of them if it is RECURSIVE (parser/parse_cte.c). */
export function bindWiths(binder: Binder, clause: WithClause | undefined, scope: NameScope): BoundWiths {
  const nodes = (clause?.ctes ?? []).map((node) => nodeOf(node)[1] as CommonTableExpr);
  if (nodes.length === 0) return { scope, withs: [] };
  for (const node of nodes) binder.meetRelation(node);
  const all = new Map<string, WithEntry>();
  const entries = nodes.map((node): WithEntry => {
    const name = node.ctename ?? "";
    const entry: WithEntry = { query: { name, node }, columns: undefined, bind: undefined, isDone: false };
    const visible = clause?.recursive === true ? all : new Map(all);
    entry.bind = () => withQuery(binder, node, entry, { ...scope, withs: visible });
    if (all.has(name)) binder.problem("42712", `WITH query name "${name}" specified more than once`, node);
    all.set(name, entry);
    return entry;
  });
  for (const entry of entries) entry.bind?.();
  return { scope: { ...scope, withs: all }, withs: entries.map(({ query }) => query) };
}

function withQuery(binder: Binder, node: CommonTableExpr, entry: WithEntry, scope: NameScope): void {
  entry.bind = undefined;
  const { ctequery } = node;
  if (ctequery === undefined) return;
  const body = nodeOf(ctequery)[1];
  const first = (body as { larg?: object }).larg;
  // The columns of a recursive query are those of its first part (determineRecursiveColTypes).
  if (first !== undefined)
    binder.whenBound(first, (query) => {
      entry.columns = columnsOf(node, query);
    });
  binder.bind(ctequery, scope);
  // The values with which CYCLE marks rows are constants, possibly with a cast.
  if (node.cycle_clause !== undefined) binder.children("CTECycleClause", node.cycle_clause, scope);
  const query = binder.queryOf.get(body);
  if (query === undefined) return;
  entry.columns = columnsOf(node, query);
  entry.isDone = true;
  binder.bodyOf.set(entry.query, query);
  const named = node.aliascolnames?.length ?? 0;
  if (named > query.outputs.length && !query.hasUnknownOutputs)
    checkAlias(
      binder,
      { aliasname: entry.query.name, colnames: node.aliascolnames ?? [] },
      query.outputs.length,
      node,
    );
}

function columnsOf(node: CommonTableExpr, { outputs, hasUnknownOutputs }: BoundQuery): WithColumns {
  const { aliascolnames = [], search_clause: search, cycle_clause: cycle } = node;
  const renamed = aliascolnames.map(stringOf);
  return {
    columns: outputs.map(({ name, typeOid }, index) => ({ name: renamed[index] ?? name, typeOid })),
    hasUnknownColumns: hasUnknownOutputs,
    added: [search?.search_seq_column, cycle?.cycle_mark_column, cycle?.cycle_path_column].filter(
      (name) => name !== undefined,
    ),
  };
}

/** The reference to a WITH query that a name without a schema may be; undefined if there is no such query. */
export function withReference(
  binder: Binder,
  name: RangeVar,
  scope: NameScope,
  isNullable: boolean,
): BoundRelation | undefined {
  const found = name.schemaname === undefined ? findWith(scope, name.relname ?? "") : undefined;
  if (found === undefined) return undefined;
  const { entry, depth } = found;
  binder.meet(name);
  entry.bind?.();
  if (!entry.isDone) binder.recursive.add(entry.query);
  if (entry.columns === undefined)
    binder.problem(
      "42P19",
      `recursive reference to query "${entry.query.name}" is not where it may be`,
      name,
    );
  const { columns = [], hasUnknownColumns = true, added = [] } = entry.columns ?? {};
  if (entry.isDone && columns.length === 0 && !hasUnknownColumns && isWrite(binder.bodyOf.get(entry.query)))
    binder.problem("0A000", `WITH query "${entry.query.name}" does not have a RETURNING clause`, name);
  const all = [...outputColumns(columns), ...added.map((each) => addedColumn(each, scope.depth > depth))];
  if (!hasUnknownColumns) checkAlias(binder, name.alias, all.length, name);
  return makeRelation({
    source: { kind: "with", query: entry.query, name },
    node: name,
    alias: name.alias,
    ownName: name.relname ?? "",
    columns: all,
    hasUnknownColumns,
    isNullable,
  });
}

/** Stars of queries inside the query with the WITH clause do not include it (addRangeTableEntryForCTE). */
function addedColumn(name: string, isHidden: boolean): PlainColumn {
  return { name, typeOid: undefined, source: { kind: "computed" }, ...(isHidden && { isHidden }) };
}

function isWrite(query: BoundQuery | undefined): boolean {
  return query?.write !== undefined;
}
