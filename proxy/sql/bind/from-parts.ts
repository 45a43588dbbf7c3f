import type { Binder } from "./binder.ts";
import type { BoundRelation, FromItem } from "./bound.ts";
import type { NameScope, NamespaceItem } from "./name-scope.ts";

/** A FROM clause or a part of it: its contents, and the names that it exposes. */
export interface BoundFrom {
  readonly item: FromItem;
  /** The entry through which unqualified column names are resolved. */
  readonly top: BoundRelation;
  readonly exposed: readonly NamespaceItem[];
}

/** What a part of FROM can refer to: the level without its FROM, and for LATERAL the items before it. */
export interface FromScope {
  /** The query's own scope; its items are ignored. */
  readonly scope: NameScope;
  readonly before: readonly NamespaceItem[];
  readonly isNullable: boolean;
}

/** All references of a FROM clause from left to right; a join comes after its sides. */
export function relationsIn(items: readonly FromItem[]): readonly BoundRelation[] {
  return items.flatMap((item): readonly BoundRelation[] =>
    item.kind === "relation" ? [item.relation] : [...relationsIn([item.left, item.right]), item.relation],
  );
}

/**
 * checkNameSpaceConflicts: two entries may not have the same name, unless both are tables without an alias in different
 * schemas.
 */
export function reportConflicts(
  binder: Binder,
  ones: readonly NamespaceItem[],
  others: readonly NamespaceItem[],
): void {
  for (const { relation, hasName } of others) {
    const same = ones.find((each) => hasName && each.hasName && each.relation.alias === relation.alias);
    if (same === undefined || areOfTwoSchemas(same.relation, relation)) continue;
    binder.problem("42712", `table name "${relation.alias}" specified more than once`, relation.node);
  }
}

function areOfTwoSchemas(one: BoundRelation, other: BoundRelation): boolean {
  if (one.hasAlias || other.hasAlias) return false;
  return (
    one.source.kind === "table" &&
    other.source.kind === "table" &&
    one.source.relation !== other.source.relation
  );
}
