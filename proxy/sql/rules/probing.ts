import type { CatalogType, Relation } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { ColumnSight } from "../sight.ts";
import { toldByNewRows } from "./constraints.ts";
import { classOf, denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import { type Columns, refusedBy, type Target, type WriteFinding } from "./write-findings.ts";
import { changes, refusingColumns, writtenInto } from "./written-tables.ts";

/**
 * Whether a new row violates a unique index reveals whether the value exists: this is a search by exact value, allowed
 * for roles that may search by the column.
 */
export function probingByRows(given: Given, target: Target, columns: Columns): readonly WriteFinding[] {
  return [
    ...probingByKeys(given, target, columns),
    ...refusedBy(probingHiddenRows(given, target, columns)),
    ...toldByNewRows(given, target, columns),
  ];
}

/**
 * A row filter hides rows, but not from unique indexes: a duplicate key reveals that a hidden row has it. A uuid cannot
 * be guessed, so a user who provides one already knows the row.
 */
export function probingHiddenRows(
  given: Given,
  { relation, key, sight }: Target,
  columns: Columns,
): Refusal | undefined {
  if (sight?.filter === undefined) return undefined;
  const { role, catalog } = given;
  const telling = refusingColumns(given, relation);
  const probed = relation.columns.find(
    ({ name, typeOid }) =>
      telling.has(name) && columns?.includes(name) !== false && !isUuid(catalog.typesByOid.get(typeOid)),
  );
  if (probed === undefined) return undefined;
  return denied(
    role,
    `role "${role.name}" sees only a part of ${key} and may not choose ${probed.name}: it is unique, so an error would reveal which hidden rows exist`,
    "only",
    `Leave ${probed.name} to its default, or make it a uuid.`,
  );
}

function isUuid(type: CatalogType | undefined): boolean {
  return type?.schema === "pg_catalog" && type.name === "uuid";
}

/** Whether new rows are refused or skipped because a protected value of theirs already exists. */
export function triesProtected(given: Given, { relation, sight }: Target, columns: Columns): boolean {
  const telling = refusingColumns(given, relation);
  return (sight?.columns ?? []).some(
    ({ isProtected, column: { name } }) =>
      isProtected && telling.has(name) && columns?.includes(name) !== false,
  );
}

/** A foreign key that refers to a masked column reveals whether the value exists: if not, it is an error. */
export function probingByKeys(given: Given, target: Target, columns: Columns): readonly WriteFinding[] {
  const { sights, catalog } = given;
  return writtenInto(catalog, target.relation, columns).flatMap(({ base, names }) =>
    sights.takers(base).flatMap((taker) =>
      taker.foreignKeys.flatMap((key): readonly WriteFinding[] => {
        const relation = catalog.relationsByOid.get(key.references);
        if (relation === undefined || !key.columns.some((name) => changes(taker, name, names))) return [];
        const hidden = sights.hidden(relation);
        return key.referencedColumns.flatMap((name) => {
          const sight = hidden.get(name);
          return sight === undefined ? [] : [lookUpByKey(given, target, relation, sight)];
        });
      }),
    ),
  );
}

function lookUpByKey(
  { role }: Given,
  { key }: Target,
  { schema, name }: Relation,
  sight: ColumnSight,
): WriteFinding {
  if (sight.findable) return { kind: "lookup", sight };
  const refusal = denied(
    role,
    `role "${role.name}" may not give ${key} a key of ${schema}.${name}.${sight.column.name}: an error would reveal which values exist`,
    "finds",
    `Add ${classOf(sight)} under "finds:" of ${placeOfRole(role)}.`,
  );
  return { kind: "refused", refusal };
}
