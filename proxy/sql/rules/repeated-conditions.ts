import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { choosingConditions } from "../bind/choosing.ts";
import { isComparedType, isLeakproof } from "../comparisons.ts";
import type { Given } from "./given.ts";
import { MAXIMUM_VALUES } from "./lookup-forms.ts";
import { columnSight } from "./lookups.ts";
import { sightOf } from "./people.ts";
import { type SimpleComparison, simpleComparison } from "./simple-comparisons.ts";

/**
 * A condition that is also applied to the table itself: inside the fence of a row filter, an index can serve no other
 * condition.
 */
export interface RepeatedCondition {
  readonly query: BoundQuery;
  readonly reference: BoundRelation;
  readonly comparison: SimpleComparison;
}

/** Plain comparisons of visible columns, of relations whose rows the role sees only in part. */
export function repeatedConditions(statement: BoundStatement, given: Given): readonly RepeatedCondition[] {
  return statement.queries.flatMap((query) =>
    choosingConditions(statement, query).flatMap(({ node, of }): readonly RepeatedCondition[] => {
      const comparison = simpleComparison(statement, node);
      const reference = comparison?.column.relation;
      if (comparison === undefined || reference === undefined || !of.has(reference)) return [];
      const isOfTable = reference !== query.write?.target && isRepeatable(given, comparison);
      return isOfTable ? [{ query, reference, comparison }] : [];
    }),
  );
}

function isRepeatable({ sights, catalog }: Given, comparison: SimpleComparison): boolean {
  const { column, operator, values, isArray } = comparison;
  const sight = columnSight(sights, column);
  return (
    !isArray &&
    values.length <= MAXIMUM_VALUES &&
    sightOf(sights, column.relation)?.filter !== undefined &&
    sight?.kind === "real" &&
    operator !== "between" &&
    isLeakproof(operator) &&
    isComparedType(catalog, sight.column.typeOid)
  );
}
