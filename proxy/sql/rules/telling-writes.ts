import type { Relation } from "../../catalog/catalog.ts";
import type { Given } from "./given.ts";
import type { Columns } from "./write-findings.ts";
import { changes, checksOf, toldByInsert, writtenInto } from "./written-tables.ts";

/**
 * Whether storing new rows, or a change of `columns`, reveals existing protected values: through unique indexes,
 * exclusion constraints and foreign keys. The role may see such a value for each person whom it reads; a write tests it
 * against all people at once.
 */
export function tellsOfProtected(given: Given, relation: Relation, columns: Columns): boolean {
  return writtenInto(given.catalog, relation, columns).some(
    ({ base, names }) => tellsByIndex(given, base, names) || tellsByKey(given, base, names),
  );
}

function tellsByIndex(given: Given, base: Relation, names: ReadonlySet<string>): boolean {
  return checksOf(given.sights, base).some(
    ({ relation, constraint }) =>
      (constraint.kind === "unique" || constraint.kind === "exclusion") &&
      constraint.columns.some((name) => changes(relation, name, names)) &&
      toldByInsert(relation, constraint, names).some((name) => isProtected(given, relation, name)),
  );
}

function tellsByKey(given: Given, base: Relation, names: ReadonlySet<string>): boolean {
  const { sights, catalog } = given;
  return sights.takers(base).some((taker) =>
    taker.foreignKeys.some(({ columns, references, referencedColumns }) => {
      const relation = catalog.relationsByOid.get(references);
      return (
        relation !== undefined &&
        columns.some((name) => changes(taker, name, names)) &&
        referencedColumns.some((name) => isProtected(given, relation, name))
      );
    }),
  );
}

/** For a relation that the role may not read: columns with a class. */
function isProtected({ sights }: Given, relation: Relation, name: string): boolean {
  const sight = sights.of(relation);
  if (!sight.ok) return sights.hidden(relation).has(name);
  return sight.sight.columns.some((each) => each.column.name === name && each.isProtected);
}
