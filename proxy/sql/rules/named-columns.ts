import type { ColumnRef, CopyStmt, Node } from "libpg-query";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundColumn, BoundRelation, BoundStatement, FromItem } from "../bind/bound.ts";
import { type Body, forEachChild, stringOf, visitNode } from "../parse/grammar.ts";
import type { ColumnSight, RelationSight } from "../sight.ts";
import { baseColumns, columnsMeant, isCopiedInto, type NamedColumns } from "./base-columns.ts";
import { classOf, denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import { namesToHold } from "./held-names.ts";
import type { Lookup } from "./lookups.ts";
import { sightOf } from "./people.ts";
import { returnedItem } from "./returned.ts";
import { noSystemColumn } from "./wrapped.ts";

/* The table columns that a statement names in any way, and how the role sees them. */

/** A column of a table, as the role sees it. */
export interface NamedSight {
  readonly sight: ColumnSight;
  readonly table: RelationSight;
  /** A column of a write's target, whose real values are in scope. */
  readonly isOfTarget: boolean;
  /** Named by a star or the whole row. */
  readonly isOfRow: boolean;
}

export interface NamedSights {
  /** By the nodes that name them, including joins. */
  readonly columns: ReadonlyMap<Body, readonly NamedSight[]>;
  /** Nodes of references to relations whose rows are chosen by protected values. */
  readonly chosen: ReadonlySet<Body>;
}

/** Everything that is named, except what moves elsewhere as a lookup and what RETURNING writes out. */
export function namedSights(
  statement: BoundStatement,
  given: Given,
  lookups: readonly Lookup[],
): NamedSights {
  const elsewhere = namesElsewhere(statement, given, lookups);
  const targets = targetsOf(statement);
  const named = new Map<Body, readonly NamedSight[]>();
  const note = (body: Body, columns: NamedColumns): void => {
    const sights = sightsOf(statement, given, targets, columns);
    if (sights.length > 0) named.set(body, sights);
  };
  for (const [body, meaning] of statement.meanings)
    if (!elsewhere.has(body)) note(body, columnsMeant(meaning));
  const ofItem = (item: FromItem): void => {
    if (item.kind === "relation") return;
    ofItem(item.left);
    ofItem(item.right);
    const columns = item.pairs.flat().flatMap(baseColumns);
    note(item.node, { columns, wholes: [] });
  };
  for (const { from } of statement.queries) from.forEach(ofItem);
  return { columns: named, chosen: chosenReferences(statement, given) };
}

function chosenReferences({ queries }: BoundStatement, { sights }: Given): ReadonlySet<Body> {
  const relations = queries.flatMap((query) => query.relations);
  return new Set(relations.flatMap((each) => (sightOf(sights, each)?.isChosen === true ? [each.node] : [])));
}

function targetsOf({ queries }: BoundStatement): ReadonlySet<BoundRelation> {
  return new Set(queries.flatMap(({ write }) => write?.target ?? []));
}

function sightsOf(
  statement: BoundStatement,
  { sights }: Given,
  targets: ReadonlySet<BoundRelation>,
  { columns, wholes }: NamedColumns,
): readonly NamedSight[] {
  const seen = (relation: BoundRelation) =>
    isCopiedInto(statement, relation) ? undefined : sightOf(sights, relation);
  const ofColumns = columns.flatMap(({ relation, source }): readonly NamedSight[] => {
    const table = seen(relation);
    const name = source.kind === "own" ? source.column.name : undefined;
    const sight = table?.columns.find(({ column }) => column.name === name);
    if (table === undefined || sight === undefined) return [];
    return [{ sight, table, isOfTarget: targets.has(relation), isOfRow: false }];
  });
  const ofRows = wholes.flatMap((relation): readonly NamedSight[] => {
    const table = seen(relation);
    const isOfTarget = targets.has(relation);
    // The subquery that replaces a relation omits absent columns; a write's target has them.
    return (table?.columns ?? []).flatMap((sight) =>
      table === undefined || (sight.kind === "absent" && !isOfTarget)
        ? []
        : [{ sight, table, isOfTarget, isOfRow: true }],
    );
  });
  return [...ofColumns, ...ofRows];
}

/** Names in comparisons that move into a subquery, and of columns that RETURNING returns as the role sees them. */
function namesElsewhere(
  statement: BoundStatement,
  given: Given,
  lookups: readonly Lookup[],
): ReadonlySet<Body> {
  const found = new Set<Body>();
  const look = (type: string, body: Body): void => {
    found.add(body);
    forEachChild(type, body, look);
  };
  for (const { searches } of lookups) for (const { comparison } of searches) look("A_Expr", comparison.body);
  for (const query of statement.queries)
    for (const node of query.clauses.returning ?? []) {
      const item = returnedItem(given, query, node);
      if (item?.kind === "written out") found.add(item.returned.reference);
    }
  return found;
}

/**
 * Whether some part of a statement names a column that the policy classifies, or a relation whose rows such a column chooses.
 * Lookups there are counted separately.
 */
export function namesProtected({ columns, chosen }: NamedSights, nodes: readonly Node[] = []): boolean {
  let isNamed = false;
  const look = (type: string, body: Body): void => {
    isNamed ||= chosen.has(body) || columns.get(body)?.some(({ sight }) => sight.isProtected) === true;
    if (!isNamed) forEachChild(type, body, look);
  };
  for (const node of nodes) visitNode(node, look);
  return isNamed;
}

/** Columns that are read without being named individually: those of COPY, and those that RETURNING writes out. */
export function givenOut({ queries }: BoundStatement, given: Given): readonly ColumnSight[] {
  return queries.flatMap((query): readonly ColumnSight[] => {
    const { form, relations, clauses, node } = query;
    if (form === "copy") {
      const copied = (node as CopyStmt).attlist?.map(stringOf);
      const sights = relations.flatMap((relation) => sightOf(given.sights, relation)?.columns ?? []);
      return sights.filter(({ column }) => copied?.includes(column.name) !== false);
    }
    return (clauses.returning ?? []).flatMap((item) => {
      const found = returnedItem(given, query, item);
      return found?.kind === "written out" ? found.returned.columns : [];
    });
  });
}

/** Why a statement may not use the names that it does. */
export function forbiddenNames(
  statement: BoundStatement,
  given: Given,
  named: NamedSights,
): Refusal | undefined {
  return (
    unknownBesideTarget(statement, given) ??
    hiddenSystemColumn(statement, given) ??
    maskedOfTarget(given, named) ??
    unsureName(statement, given)
  );
}

/** `x.a` with an unknown x: together with a target whose real values are in scope, only known names are allowed. */
function unknownBesideTarget(statement: BoundStatement, { sights }: Given): Refusal | undefined {
  const isGuarded = [...targetsOf(statement)].some((target) => sightOf(sights, target)?.guarded === true);
  const unknown = isGuarded
    ? statement.problems.find(({ sqlstate, node }) => sqlstate === "42P01" && "fields" in node)
    : undefined;
  if (unknown === undefined) return undefined;
  const { fields = [] } = unknown.node as ColumnRef;
  return refuse("42501", `"${fields.map(stringOf).join(".")}" is no column that Sluice knows here`, {
    hint: "In a write, name columns of the relations in FROM or of the target.",
  });
}

/** Positions of rows reveal rows that a filter hides; only tables have such columns. */
function hiddenSystemColumn(statement: BoundStatement, given: Given): Refusal | undefined {
  const targets = targetsOf(statement);
  const hidden = (column: BoundColumn): RelationSight | undefined => {
    const { relation, source } = column;
    if (source.kind !== "system" || targets.has(relation) || isCopiedInto(statement, relation))
      return undefined;
    const sight = sightOf(given.sights, relation);
    if (sight?.listed !== true || !sight.guarded) return undefined;
    return sight.filter !== undefined || !HAVE_SYSTEM_COLUMNS.has(sight.relation.kind) ? sight : undefined;
  };
  for (const meaning of statement.meanings.values())
    for (const column of columnsMeant(meaning).columns) {
      const sight = hidden(column);
      if (sight !== undefined) return noSystemColumn(given, sight, column.name);
    }
  return undefined;
}

/**
 * For a watched role: where rows of people are stored, and when they were written (`max(ctid)`), follows from the lengths of
 * their values and from who was written to.
 */
export function namesPlaces({ meanings }: BoundStatement, { role, sights }: Given): boolean {
  if (role.watch !== true) return false;
  return [...meanings.values()].some((meaning) =>
    columnsMeant(meaning).columns.some(
      ({ relation, source, name }) =>
        source.kind === "system" && name !== "tableoid" && sightOf(sights, relation)?.people !== undefined,
    ),
  );
}

const HAVE_SYSTEM_COLUMNS: ReadonlySet<string> = new Set([
  "table",
  "partitioned",
  "materialized view",
  "foreign table",
]);

/** The target of a write has its real values. */
function maskedOfTarget({ role }: Given, { columns }: NamedSights): Refusal | undefined {
  for (const sights of columns.values()) {
    const masked = sights.find(({ sight, isOfTarget }) => isOfTarget && sight.kind !== "real");
    if (masked === undefined) continue;
    const { table, sight, isOfRow } = masked;
    if (isOfRow)
      return denied(
        role,
        `role "${role.name}" sees ${table.key}.${sight.column.name} masked and may not use the whole row in a write`,
        "sees",
        "Name the columns that are needed.",
      );
    return denied(
      role,
      `role "${role.name}" sees ${table.key}.${sight.column.name} masked and may not use it in a write`,
      "sees",
      `Name the row by another column, or let ${placeOfRole(role)} see ${classOf(sight)}.`,
    );
  }
  return undefined;
}

/** A name that could come to mean a hidden value and that cannot be qualified. */
function unsureName(statement: BoundStatement, { sights }: Given): Refusal | undefined {
  const unsure = namesToHold(statement, sights).find(({ holder }) => holder === undefined);
  return (
    unsure &&
    refuse("42501", `"${unsure.name}" may come to mean a column of what is written`, {
      hint: "Write the table's name or alias before it.",
    })
  );
}
