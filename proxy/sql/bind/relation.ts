import type { Alias, RangeTableSample, RangeVar } from "libpg-query";
import type { Relation } from "../../catalog/catalog.ts";
import { type Body, stringOf } from "../parse/grammar.ts";
import type { Binder } from "./binder.ts";
import type { BoundColumn, BoundRelation, ColumnSource, Output, RelationSource } from "./bound.ts";
import { relationsNamed } from "./environment.ts";

/** A column that does not belong to a reference yet. */
export interface PlainColumn {
  readonly name: string;
  readonly typeOid: number | undefined;
  readonly source: ColumnSource;
  readonly isHidden?: true;
}

export interface RelationParts {
  readonly source: RelationSource;
  readonly node: Body;
  readonly alias: Alias | undefined;
  /** Its name without an alias; empty if it then has no name. */
  readonly ownName: string;
  readonly columns: readonly PlainColumn[];
  readonly system?: readonly string[];
  readonly hasUnknownColumns?: boolean;
  readonly isNullable: boolean;
}

/** Makes a reference; the alias may rename its columns, starting with the first (buildRelationAliases). */
export function makeRelation(parts: RelationParts): BoundRelation {
  const { source, node, alias, ownName, hasUnknownColumns = false, isNullable } = parts;
  const columns: BoundColumn[] = [];
  const systemColumns: BoundColumn[] = [];
  const relation: BoundRelation = {
    source,
    node,
    alias: alias?.aliasname ?? ownName,
    hasAlias: alias !== undefined,
    columns,
    systemColumns,
    hasUnknownColumns,
    isNullable,
  };
  const renamed = (alias?.colnames ?? []).map(stringOf);
  // If some columns are unknown, it is also unknown which columns are renamed.
  const known = hasUnknownColumns && renamed.length > 0 ? [] : parts.columns;
  // Written out: a statement has thousands of columns, and spreading each of them would be most of this function's
  // cost.
  known.forEach(({ name, typeOid, source, isHidden }, index) => {
    const column = { relation, name: renamed[index] ?? name, typeOid, source };
    columns.push(isHidden === undefined ? column : { ...column, isHidden });
  });
  for (const name of parts.system ?? [])
    systemColumns.push({ relation, name, typeOid: undefined, source: { kind: "system" } });
  return relation;
}

/** A query's outputs as the columns of a reference to it. */
export function outputColumns(outputs: readonly Pick<Output, "name" | "typeOid">[]): readonly PlainColumn[] {
  return outputs.map(({ name, typeOid }, position) => ({
    name,
    typeOid,
    source: { kind: "output", position },
  }));
}

/** Reports an alias with more names than there are columns. */
export function checkAlias(binder: Binder, alias: Alias | undefined, columns: number, node: Body): void {
  const named = alias?.colnames?.length ?? 0;
  if (named <= columns) return;
  binder.problem("42P10", `"${alias?.aliasname}" has ${columns} columns available, not ${named}`, node);
}

const SYSTEM_COLUMNS: readonly string[] = ["ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"];

/**
 * A relation of the catalog, by its name. A write's target is not replaced by a subquery, so it has all of its columns.
 */
export function tableReference(
  binder: Binder,
  name: RangeVar,
  place: {
    readonly isNullable: boolean;
    readonly isTarget: boolean;
    readonly sample?: RangeTableSample | undefined;
  },
): BoundRelation {
  const { isNullable, isTarget, sample } = place;
  binder.meet(name);
  const { environment } = binder;
  const [relation, ...namesakes] = relationsNamed(environment, name);
  const { alias, relname = "" } = name;
  const shared = { node: name, alias, ownName: relname, isNullable };
  const isElsewhere = name.catalogname !== undefined && name.catalogname !== environment.catalog.database;
  if (isElsewhere || relation === undefined) {
    const written = [name.catalogname, name.schemaname, relname]
      .filter((part) => part !== undefined)
      .join(".");
    if (isElsewhere)
      binder.problem("0A000", `cross-database references are not implemented: "${written}"`, name);
    else binder.problem("42P01", `relation "${written}" does not exist`, name);
    return makeRelation({
      ...shared,
      source: { kind: "unknown table", name },
      columns: [],
      hasUnknownColumns: true,
    });
  }
  checkAlias(binder, alias, relation.columns.length, name);
  return ofCatalog(relation, isTarget ? new Set() : environment.absent(relation), {
    ...shared,
    source: { kind: "table", relation, name, namesakes, sample },
    system: relation.kind === "view" ? [] : SYSTEM_COLUMNS,
  });
}

/** Alias lists count all columns of a relation; columns that cannot be named are removed afterwards. */
function ofCatalog(
  relation: Relation,
  absent: ReadonlySet<string>,
  parts: Omit<RelationParts, "columns">,
): BoundRelation {
  const renamed = (parts.alias?.colnames ?? []).map(stringOf);
  const columns: PlainColumn[] = [];
  for (const [index, column] of relation.columns.entries()) {
    if (absent.has(column.name)) continue;
    const name = renamed[index] ?? column.name;
    columns.push({ name, typeOid: column.typeOid, source: { kind: "own", column } });
  }
  const { alias } = parts;
  const named = alias === undefined ? undefined : { aliasname: alias.aliasname ?? "" };
  return makeRelation({ ...parts, alias: named, columns });
}
