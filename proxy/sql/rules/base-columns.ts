import type { CopyStmt } from "libpg-query";
import type { BoundColumn, BoundRelation, BoundStatement, FromItem, Meaning } from "../bind/bound.ts";
import type { Body } from "../parse/grammar.ts";

/* The table columns that a name means, through any joins and whole rows. */

/** The table columns that one name or one join refers to. */
export interface NamedColumns {
  readonly columns: readonly BoundColumn[];
  /** All columns of these, including columns added since the catalog was last read. */
  readonly wholes: readonly BoundRelation[];
}

const NOTHING: NamedColumns = { columns: [], wholes: [] };

/** For a ColumnRef or another node with a meaning. Rows that come in by INSERT or COPY are the client's own. */
export function columnsNamedAt({ meanings }: BoundStatement, node: Body): NamedColumns {
  const meaning = meanings.get(node);
  return meaning === undefined ? NOTHING : columnsMeant(meaning);
}

export function columnsMeant(meaning: Meaning): NamedColumns {
  switch (meaning.kind) {
    case "column":
      return { columns: baseColumns(meaning.column), wholes: [] };
    case "row":
      return { columns: [], wholes: baseRelations(meaning.relation) };
    case "star":
      return { columns: [], wholes: meaning.relations.flatMap(baseRelations) };
    case "uncertain": {
      const named = meaning.candidates.map(columnsMeant);
      return {
        columns: named.flatMap(({ columns }) => columns),
        wholes: named.flatMap(({ wholes }) => wholes),
      };
    }
    case "output":
    case "some output":
    case "none":
      return NOTHING;
  }
}

/** Table columns that a column is made from through joins only; a query's outputs are not traced. */
export function baseColumns(column: BoundColumn): readonly BoundColumn[] {
  const { source, relation } = column;
  if (source.kind === "own" || source.kind === "system") return [column];
  return source.kind !== "merged" || isIncoming(relation) ? [] : source.columns.flatMap(baseColumns);
}

function baseRelations(relation: BoundRelation): readonly BoundRelation[] {
  const { source } = relation;
  switch (source.kind) {
    case "table":
      return [relation];
    case "join":
      return source.sides.flatMap(baseRelations);
    case "row of target":
      return isIncoming(relation) ? [] : [source.target];
    default:
      return [];
  }
}

/** `excluded`: the row that was to be inserted, whose columns copy none of the target's. */
export function isIncoming({ source, columns }: BoundRelation): boolean {
  return (
    source.kind === "row of target" &&
    columns.every((column) => column.source.kind === "merged" && column.source.plain === undefined)
  );
}

/** COPY FROM, whose WHERE refers to the incoming rows. */
export function isCopiedInto({ queries }: BoundStatement, reference: BoundRelation): boolean {
  return queries.some(
    ({ form, node, write }) =>
      write?.target === reference && form === "insert" && (node as CopyStmt).is_from === true,
  );
}

/** What the subqueries that replace references need in addition to the named columns. */
export interface ShownColumns {
  /** Relations all of whose columns may show: through a star, a whole row or a join. */
  readonly wholes: ReadonlySet<BoundRelation>;
  /** By name (ctid, tableoid …): a subquery has none of its own. */
  readonly systemColumns: ReadonlyMap<BoundRelation, ReadonlySet<string>>;
}

/** For all names of the statement. */
export function shownColumns(statement: BoundStatement): ShownColumns {
  const wholes = new Set(wholesOfJoins(statement));
  const systemColumns = new Map<BoundRelation, Set<string>>();
  for (const meaning of statement.meanings.values()) {
    const named = columnsMeant(meaning);
    for (const each of named.wholes) wholes.add(each);
    for (const { relation, name, source } of named.columns) {
      if (source.kind !== "system") continue;
      const names = systemColumns.get(relation) ?? new Set();
      systemColumns.set(relation, names.add(name));
    }
  }
  return { wholes, systemColumns };
}

/**
 * References of which a join exposes all columns: NATURAL compares the columns that both sides have, and an alias
 * represents all of them.
 */
function wholesOfJoins({ queries }: BoundStatement): ReadonlySet<BoundRelation> {
  const wholes = new Set<BoundRelation>();
  const look = (item: FromItem): void => {
    if (item.kind === "relation") return;
    look(item.left);
    look(item.right);
    const { isNatural } = item.node as { isNatural?: boolean };
    if (isNatural === true || item.relation.hasAlias)
      for (const each of baseRelations(item.relation)) wholes.add(each);
  };
  for (const { from } of queries) from.forEach(look);
  return wholes;
}
