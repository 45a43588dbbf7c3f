import type { Binder } from "./binder.ts";
import type { BoundRelation } from "./bound.ts";
import type { NamespaceItem } from "./scope.ts";

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
