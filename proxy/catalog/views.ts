import { setImmediate } from "node:timers/promises";
import type { RelationRows } from "./build-relations.ts";
import type { ViewLineage } from "./catalog.ts";
import { groupBy } from "./group.ts";
import { readLineage } from "./lineage.ts";

/** How long one stretch of this work may block sessions, in milliseconds. */
const STRETCH_MS = 5;

/**
 * The lineage of every view. A thousand views take some tenths of a second, so the work yields to other work in
 * between.
 */
export async function readLineages(
  { views, columns, viewDependencies }: RelationRows,
  operatorFunctions: ReadonlyMap<number, number>,
): Promise<ReadonlyMap<number, ViewLineage>> {
  const columnsOf = groupBy(columns, ([relation]) => relation);
  const dependsOf = groupBy(viewDependencies, ([view]) => view);
  const lineages = new Map<number, ViewLineage>();
  let begun = performance.now();
  for (const [oid, action] of views) {
    const lineage = readLineage({
      oid,
      columns: new Map((columnsOf.get(oid) ?? []).map(([, number, name]) => [number, name])),
      action,
      depends: (dependsOf.get(oid) ?? []).map(([, relation, column]) => [relation, column]),
      operatorFunctions,
    });
    lineages.set(oid, lineage);
    if (performance.now() - begun < STRETCH_MS) continue;
    await setImmediate();
    begun = performance.now();
  }
  return lineages;
}
