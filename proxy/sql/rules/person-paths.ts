import type { Catalog, Relation } from "../../catalog/catalog.ts";
import type { Policy } from "../../policy/policy.ts";
import { resolvePath } from "../../policy/subject-path.ts";
import type { Sights } from "../sight.ts";
import type { Given } from "./given.ts";
import { writtenInto } from "./written-tables.ts";

/*
 * A path as a subject (`ticket_id -> public.tickets.customer_id`) says whose the rows of another table are. Whoever puts a
 * row of their own under a key that such rows have would read them all as one person's.
 */

/** A table on the way from rows to their person. */
export interface PathStep {
  /** The column by which it is found. */
  readonly key: string;
  /** The table whose rows it leads on. */
  readonly from: Relation;
  /** A foreign key guarantees, at the end of each statement, that their row is there. */
  readonly isHeld: boolean;
}

/** Undefined if the column leads no other table's rows to their person. */
export function stepBy(given: Given, relation: Relation, column: string): PathStep | undefined {
  for (const { base, names } of writtenInto(given.catalog, relation, [column])) {
    const step = stepsThrough(given, base).find(({ key }) => names.has(key));
    if (step !== undefined) return step;
  }
  return undefined;
}

/** Those of the relation itself, of what it is a part of, and of its parts. */
export function stepsThrough(given: Given, relation: Relation): readonly PathStep[] {
  const { sights } = given;
  const steps = allSteps(given);
  const family = new Set([...sights.ancestors(relation), ...sights.takers(relation)]);
  return [...family].flatMap(({ oid }) => steps.get(oid) ?? []);
}

type Steps = ReadonlyMap<number, readonly PathStep[]>;

const known = new WeakMap<Catalog, WeakMap<Policy, Steps>>();

function allSteps({ catalog, policy, sights }: Given): Steps {
  const ofCatalog = known.get(catalog) ?? new WeakMap<Policy, Steps>();
  known.set(catalog, ofCatalog);
  const steps = ofCatalog.get(policy) ?? collected(policy, catalog, sights);
  ofCatalog.set(policy, steps);
  return steps;
}

function collected(policy: Policy, catalog: Catalog, sights: Sights): Steps {
  const steps = new Map<number, readonly PathStep[]>();
  for (const table of policy.tables.values()) {
    const start = catalog.relations.get(table.name);
    const path = start && table.path && resolvePath(table, start, policy, catalog);
    if (start === undefined || path?.ok !== true) continue;
    let [from, column] = [start, table.subject ?? ""];
    for (const { relation, key, column: next } of path.hops) {
      const isHeld = sights
        .takers(from)
        .every((rows) => rows.isPartition || refersTo(rows, column, relation, key));
      steps.set(relation.oid, [...(steps.get(relation.oid) ?? []), { key, from, isHeld }]);
      [from, column] = [relation, next];
    }
  }
  return steps;
}

function refersTo({ foreignKeys }: Relation, column: string, to: Relation, key: string): boolean {
  return foreignKeys.some(
    ({ columns, references, referencedColumns, unsure }) =>
      unsure !== true &&
      references === to.oid &&
      columns.length === 1 &&
      columns[0] === column &&
      referencedColumns[0] === key,
  );
}
