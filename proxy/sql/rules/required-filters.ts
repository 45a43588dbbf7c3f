import type { MergeStmt, MergeWhenClause, Node } from "libpg-query";
import type { Catalog, Relation } from "../../catalog/catalog.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { conditionsOf, conjuncts, equalitiesIn, type Pin, pinsOf } from "../bind/pins.ts";
import { hasIndex, isKey } from "../indexed.ts";
import { nodeOf } from "../parse/grammar.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import type { Test } from "./lookup-forms.ts";
import { columnSight, type Lookup } from "./lookups.ts";
import { sightOf } from "./people.ts";
import { simpleComparison } from "./simple-comparisons.ts";

/*
 * `require_filter`: such a relation is neither read nor written as a whole. Each reference to it must be restricted by
 * a condition on an indexed column, by an indexed column that a join makes equal to a column of a restricted reference,
 * or by its own key to the rows that some condition chooses from a table without the requirement. So `require_filter:
 * [customers]` allows a list of the open tickets with their customers' names, where each customer is found by their
 * key.
 */

/** References without a condition on an indexed column that the role may read or write only with one. */
export function unfilteredReferences(
  statement: BoundStatement,
  given: Given,
  lookups: readonly Lookup[],
): readonly BoundRelation[] {
  const asked = statement.queries.flatMap((query) =>
    referencesAsked(query).filter((each) => requires(given, each)),
  );
  if (asked.length === 0) return [];
  const held = new Held(statement, given, lookups).references();
  return asked.filter((reference) => !held.has(reference));
}

/** An INSERT does not read its target, and LOCK reads nothing. */
function referencesAsked({ form, relations }: BoundQuery): readonly BoundRelation[] {
  return form === "insert" || form === "lock" ? [] : relations;
}

function requires({ sights }: Given, reference: BoundRelation): boolean {
  const sight = sightOf(sights, reference);
  return sight !== undefined && sights.requiresFilter(sight.relation);
}

/** A reference's own column that equals a column of another reference whenever its row is present. */
interface Join {
  readonly column: BoundColumn;
  readonly other: BoundRelation;
  readonly isOfOneQuery: boolean;
  /** A written relation is named by its own keys. */
  readonly isTarget: boolean;
}

/** The references of a statement that are restricted. */
class Held {
  readonly #statement: BoundStatement;
  readonly #given: Given;
  readonly #held = new Set<BoundRelation>();
  /** Tables that need no condition but have one: `status = 'open'`. */
  readonly #chosen = new Set<BoundRelation>();
  readonly #joins: readonly Join[];

  constructor(statement: BoundStatement, given: Given, lookups: readonly Lookup[]) {
    this.#statement = statement;
    this.#given = given;
    this.#joins = statement.queries.flatMap((query) => this.#joinsOf(query));
    for (const query of statement.queries) this.#byConditions(query);
    for (const { reference, test } of lookups) if (this.#isSmall(test)) this.#held.add(reference);
  }

  references(): ReadonlySet<BoundRelation> {
    for (let before = -1; before !== this.#held.size; ) {
      before = this.#held.size;
      for (const join of this.#joins) if (this.#isHeldBy(join)) this.#held.add(join.column.relation);
    }
    return this.#held;
  }

  #isHeldBy({ column, other, isOfOneQuery, isTarget }: Join): boolean {
    const isHeld = this.#held.has(other);
    if (isHeld && isOfOneQuery && this.#isReal(column, hasIndex)) return true;
    return !isTarget && (isHeld || this.#chosen.has(other)) && this.#isReal(column, isKey);
  }

  #byConditions(query: BoundQuery): void {
    for (const condition of restrictionsOf(query)) {
      if (isCursor(condition.node) && query.write !== undefined) this.#held.add(query.write.target);
      const comparison = simpleComparison(this.#statement, condition.node);
      if (comparison === undefined || !condition.restricts.has(comparison.column.relation)) continue;
      const { column, operator } = comparison;
      if (operator !== "=" && operator !== "between") continue;
      if (this.#isReal(column, hasIndex)) this.#held.add(column.relation);
      if (!requires(this.#given, column.relation) && this.#isReal(column, () => true))
        this.#chosen.add(column.relation);
    }
  }

  #joinsOf(query: BoundQuery): readonly Join[] {
    return equalitiesOf(this.#statement, query).flatMap((pin) => {
      const { column, to, restricts } = pin;
      if (to.kind !== "column" || !restricts.has(column.relation) || !isPlainEquality(pin)) return [];
      const other = to.column.relation;
      if (other === column.relation || other.source.kind !== "table") return [];
      const isOfOneQuery = query.relations.includes(other);
      return [{ column, other, isOfOneQuery, isTarget: query.write?.target === column.relation }];
    });
  }

  /** Whether each way to satisfy it searches an indexed column for few values. */
  #isSmall(test: Test): boolean {
    switch (test.kind) {
      case "and":
        return test.args.some((each) => this.#isSmall(each));
      case "or":
        return test.args.every((each) => this.#isSmall(each));
      case "comparison": {
        const { column, symbol, exact } = test;
        const { relation, source } = column;
        const isFew =
          columnSight(this.#given.sights, column)?.kind !== "real" || (symbol === "=" && exact !== undefined);
        if (relation.source.kind !== "table" || source.kind !== "own" || !isFew) return false;
        return hasIndex(this.#given.catalog, relation.source.relation, source.column.name);
      }
    }
  }

  /**
   * Whether the column is seen unmasked and `has` is true for it. A condition on a mask restricts nothing: many people
   * share one mask.
   */
  #isReal(
    column: BoundColumn,
    has: (catalog: Catalog, relation: Relation, column: string) => boolean,
  ): boolean {
    const { relation, source } = column;
    const sight = columnSight(this.#given.sights, column);
    if (relation.source.kind !== "table" || source.kind !== "own" || sight?.kind !== "real") return false;
    return has(this.#given.catalog, relation.source.relation, source.column.name);
  }
}

interface Restriction {
  readonly node: Node;
  readonly restricts: ReadonlySet<BoundRelation>;
}

function restrictionsOf(query: BoundQuery): readonly Restriction[] {
  if (query.form === "merge") return ofMerge(query);
  return conditionsOf(query).flatMap((condition) =>
    "node" in condition ? [{ node: condition.node, restricts: condition.restricts }] : [],
  );
}

function equalitiesOf(statement: BoundStatement, query: BoundQuery): readonly Pin[] {
  if (query.form !== "merge") return pinsOf(statement, query);
  return ofMerge(query).flatMap(({ node, restricts }) =>
    equalitiesIn(statement, { node }).map((each): Pin => ({ ...each, holds: "where joined", restricts })),
  );
}

/**
 * ON restricts only the target, because a source row without a match is read too; and not even the target if rows
 * without a source are written (Postgres docs, "MERGE", WHEN NOT MATCHED BY SOURCE).
 */
function ofMerge({ node, write }: BoundQuery): readonly Restriction[] {
  const { joinCondition, mergeWhenClauses = [] } = node as MergeStmt;
  const isBySource = mergeWhenClauses.some(
    (action) => (nodeOf(action)[1] as MergeWhenClause).matchKind === "MERGE_WHEN_NOT_MATCHED_BY_SOURCE",
  );
  if (joinCondition === undefined || write === undefined || isBySource) return [];
  return conjuncts(joinCondition).map((each) => ({ node: each, restricts: new Set([write.target]) }));
}

/** WHERE CURRENT OF: the one row at which a cursor is positioned. */
function isCursor(condition: Node): boolean {
  return nodeOf(condition)[0] === "CurrentOfExpr";
}
