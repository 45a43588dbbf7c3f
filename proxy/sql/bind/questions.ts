import type { Catalog, Column, Relation } from "../../catalog/catalog.ts";
import { type Body, forEachChild, nodeOf } from "../parse/grammar.ts";
import type {
  BoundColumn,
  BoundQuery,
  BoundRelation,
  BoundStatement,
  Call,
  FromItem,
  Meaning,
} from "./bound.ts";
import type { Dependencies } from "./dependencies.ts";

/* Further questions that rules ask about a bound statement, besides what its answer depends on. */

/** The column, if the expression consists only of it. */
export function columnMeant(
  { meanings }: Pick<BoundStatement, "meanings">,
  body: Body,
): BoundColumn | undefined {
  const meaning = meanings.get(body);
  return meaning?.kind === "column" ? meaning.column : undefined;
}

/** Every reference to a relation of the catalog, including targets of writes. */
export function tablesIn({ queries }: Pick<BoundStatement, "queries">): readonly BoundRelation[] {
  return queries.flatMap(({ relations }) =>
    relations.filter(({ source }) => source.kind === "table" || source.kind === "unknown table"),
  );
}

/** Whether an aggregate is, or may be, computed over the rows of a query around the one that contains it. */
export function mayAggregateAround(statement: BoundStatement): boolean {
  return statement.queries.some(({ calls, aggregates }) =>
    aggregates.some((call) => !calls.includes(call) || isOfUncertainQuery(statement, call)),
  );
}

/**
 * If a name in an aggregate may be an unknown column, it is uncertain over which query's rows the aggregate is
 * computed.
 */
export function isOfUncertainQuery({ meanings }: BoundStatement, { node, form }: Call): boolean {
  if (form !== "function") return true;
  let isUncertain = false;
  const look = (type: string, body: Body): void => {
    isUncertain ||= meanings.get(body)?.kind === "uncertain";
    if (!isUncertain) forEachChild(type, body, look);
  };
  forEachChild("FuncCall", node, look);
  return isUncertain;
}

/** `TABLE x` is read as `SELECT * FROM x` with a star that has no location. */
export function isTableCommand({ clauses: { targets = [] } }: BoundQuery): boolean {
  const [target] = targets;
  return target !== undefined && (nodeOf(target)[1] as { location?: number }).location === -1;
}

/** Whether rows are locked anywhere: FOR UPDATE and similar clauses. */
export function locksRows({ queries }: BoundStatement): boolean {
  return queries.some(({ clauses }) => clauses.locking !== undefined);
}

/**
 * The columns that the statement names in any way: by name, by a star or a whole row, by USING. Postgres requires the
 * SELECT privilege for these (ACL_SELECT in parser/parse_relation.c).
 */
export function namedColumns({ queries, meanings }: BoundStatement): ReadonlySet<BoundColumn> {
  const named = new Set<BoundColumn>();
  const add = (column: BoundColumn): void => {
    for (const each of columnsBehind(column))
      if (each.source.kind === "own" || each.source.kind === "system") named.add(each);
  };
  for (const meaning of meanings.values()) for (const column of columnsMeant(meaning)) add(column);
  for (const { from, form, outputs } of queries) {
    for (const item of from) for (const pair of pairsIn(item)) pair.forEach(add);
    if (form === "copy") for (const { column } of outputs) if (column !== undefined) add(column);
  }
  return named;
}

function columnsMeant(meaning: Meaning): readonly BoundColumn[] {
  switch (meaning.kind) {
    case "column":
      return [meaning.column];
    case "row":
      return meaning.relation.columns;
    case "star":
      return meaning.columns;
    case "uncertain":
      return meaning.candidates.flatMap(columnsMeant);
    default:
      return [];
  }
}

function pairsIn(item: FromItem): readonly (readonly BoundColumn[])[] {
  return item.kind === "relation" ? [] : [...item.pairs, ...pairsIn(item.left), ...pairsIn(item.right)];
}

/** The columns of references that a column is made from: several if USING merged them. */
export function columnsBehind(column: BoundColumn): readonly BoundColumn[] {
  return column.source.kind === "merged" ? column.source.columns.flatMap(columnsBehind) : [column];
}

/** The relation's column that a column copies unchanged, through joins, subqueries and WITH queries. */
export function originOf(statement: BoundStatement, column: BoundColumn): BoundColumn | undefined {
  let at: BoundColumn | undefined = column;
  for (const seen = new Set<BoundColumn>(); at !== undefined && !seen.has(at); ) {
    seen.add(at);
    const { source }: BoundColumn = at;
    if (source.kind === "own" || source.kind === "system") return at;
    at =
      source.kind === "merged" ? source.plain : source.kind === "output" ? copied(statement, at) : undefined;
  }
  return undefined;
}

/** What an output of a plain query copies; a set operation's output copies no single column. */
function copied(statement: BoundStatement, { relation, source }: BoundColumn): BoundColumn | undefined {
  if (source.kind !== "output") return undefined;
  const query =
    relation.source.kind === "subquery"
      ? relation.source.query
      : relation.source.kind === "with"
        ? statement.bodyOf.get(relation.source.query)
        : undefined;
  return query?.outputs[source.position]?.column;
}

/** Columns of the catalog; for views and generated columns also the columns that they are made from. */
export function columnsOfTables(
  catalog: Catalog,
  { columns, relations }: Dependencies,
): ReadonlyMap<Relation, ReadonlySet<Column>> {
  const found = new Map<Relation, Set<Column>>();
  const add = (relation: Relation, column: Column | undefined): void => {
    const known = found.get(relation) ?? new Set();
    found.set(relation, known);
    if (column !== undefined && known.has(column)) return;
    if (column !== undefined) known.add(column);
    for (const [base, used] of madeFrom(catalog, relation)) add(base, used);
    for (const number of column?.generatedFrom ?? [])
      add(
        relation,
        relation.columns.find((each) => each.number === number),
      );
  };
  for (const { source } of relations) if (source.kind === "table") add(source.relation, undefined);
  for (const { relation, source } of columns)
    if (relation.source.kind === "table" && source.kind === "own")
      add(relation.source.relation, source.column);
  return found;
}

/** Everything that a view's definition names: its rows depend on that, whichever of its columns is read. */
function madeFrom(
  { relationsByOid }: Catalog,
  { lineage }: Relation,
): readonly (readonly [Relation, Column])[] {
  return (lineage?.dependsOn ?? []).flatMap(({ relation, columns }) => {
    const base = relationsByOid.get(relation);
    const used = base?.columns.filter(({ number }) => columns.length === 0 || columns.includes(number)) ?? [];
    return base === undefined ? [] : used.map((column) => [base, column] as const);
  });
}
