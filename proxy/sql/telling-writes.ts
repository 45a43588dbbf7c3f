import type { Relation } from "../catalog/catalog.ts";
import type { Analysis, RelationUse } from "./analysis.ts";
import { changes, checksOf, toldByInsert, writtenInto } from "./constraints.ts";

/**
 * Whether it tells of protected values that are there already that new rows are stored, or a change of `names` is: by unique
 * indexes, exclusion constraints and foreign keys. The role may see such a value for each person whom it reads; a write asks
 * for it of all people at once. Names of `undefined` are all columns.
 */
export function tellsOfProtected(
  analysis: Analysis,
  use: RelationUse | undefined,
  names: readonly string[] | undefined,
): boolean {
  if (use === undefined) return false;
  return writtenInto(analysis.scope.catalog, use.relation, names).some(
    ({ base, names: given }) => tellsByIndex(analysis, base, given) || tellsByKey(analysis, base, given),
  );
}

function tellsByIndex(analysis: Analysis, base: Relation, given: ReadonlySet<string>): boolean {
  return checksOf(analysis, base).some(
    ({ relation, constraint }) =>
      (constraint.kind === "unique" || constraint.kind === "exclusion") &&
      constraint.columns.some((name) => changes(relation, name, given)) &&
      toldByInsert(relation, constraint, given).some((name) => isProtected(analysis, relation, name)),
  );
}

function tellsByKey(analysis: Analysis, base: Relation, given: ReadonlySet<string>): boolean {
  const { sights, scope } = analysis;
  return sights.takers(base).some((taker) =>
    taker.foreignKeys.some(({ columns, references, referencedColumns }) => {
      const relation = scope.catalog.relationsByOid.get(references);
      return (
        relation !== undefined &&
        columns.some((name) => changes(taker, name, given)) &&
        referencedColumns.some((name) => isProtected(analysis, relation, name))
      );
    }),
  );
}

/** Of a relation that the role may not read, what has a class. */
function isProtected({ sights }: Analysis, relation: Relation, name: string): boolean {
  const sight = sights.of(relation);
  if (!sight.ok) return sights.hidden(relation).has(name);
  return sight.sight.columns.some((each) => each.column.name === name && each.isProtected);
}
