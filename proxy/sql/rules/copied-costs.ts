import type { BoundColumn, BoundQuery, BoundStatement } from "../bind/bound.ts";
import { choiceDependsOn, storedDependsOn } from "../bind/dependencies.ts";
import type { RelationSight } from "../sight.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";
import { lossBy, stepsThrough } from "./person-paths.ts";
import type { Taken } from "./taken-rows.ts";
import { writtenInto } from "./written-tables.ts";

/** As how many people each counts whose values are stored, or whose rows are taken from them: see `cost:` of a class. */
export function costOfCopied(
  statement: BoundStatement,
  given: Given,
  stored: readonly BoundQuery[],
  taken: Taken,
): number {
  const named = stored.flatMap((query) => [
    ...storedDependsOn(statement, query).columns,
    ...choiceDependsOn(statement, query).columns,
  ]);
  const costs = named.map((column) => costOfColumn(given, column));
  return Math.max(
    1,
    ...costs,
    ...(taken === "nobody" ? [] : stored.map((query) => costOfTaken(given, query))),
  );
}

function costOfColumn({ sights }: Given, { relation, source }: BoundColumn): number {
  const columns = sightOf(sights, relation)?.columns ?? [];
  const name = source.kind === "own" ? source.column.name : undefined;
  return columns.find(({ column }) => column.name === name)?.cost ?? dearest(columns);
}

/** What is taken may be read in full afterwards: the row itself, and rows of other tables that it leads to their person. */
function costOfTaken(given: Given, { write }: BoundQuery): number {
  const source = write?.target.source;
  if (source?.kind !== "table") return 1;
  const { relation } = source;
  const leads =
    lossBy(given, relation) !== undefined ||
    writtenInto(given.catalog, relation, undefined).some(({ base }) => stepsThrough(given, base).length > 0);
  if (leads) return Math.max(1, ...[...given.policy.classes.values()].map(({ cost }) => cost));
  const sight = given.sights.of(relation);
  return sight.ok ? dearest(sight.sight.columns) : 1;
}

function dearest(columns: RelationSight["columns"]): number {
  return Math.max(1, ...columns.map(({ cost }) => cost));
}
