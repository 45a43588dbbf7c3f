import type { Binder } from "./binder.ts";
import type { BoundRelation, FromItem } from "./bound.ts";
import type { NamespaceItem, Scope } from "./scope.ts";

/** A FROM clause, or a part of it: what it is, and what it exposes. */
export interface BoundFrom {
  readonly item: FromItem;
  /** The entry by which columns are named without a qualifier. */
  readonly top: BoundRelation;
  readonly exposed: readonly NamespaceItem[];
}

/** What a part of FROM sees: the level without its FROM, and what comes before for LATERAL. */
export interface FromScope {
  /** The query's own scope; its items are not looked at. */
  readonly scope: Scope;
  readonly before: readonly NamespaceItem[];
  readonly isNullable: boolean;
}

/** All references of a FROM clause, from left to right, a join after its sides. */
export function relationsIn(items: readonly FromItem[]): readonly BoundRelation[] {
  return items.flatMap((item): readonly BoundRelation[] =>
    item.kind === "relation" ? [item.relation] : [...relationsIn([item.left, item.right]), item.relation],
  );
}

/** checkNameSpaceConflicts: two entries of one name, unless both are tables without an alias, of two schemas. */
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
