import type { Catalog, CatalogType, Column, Relation } from "../../catalog/catalog.ts";
import type { BoundColumn } from "../bind/bound.ts";
import type { Given } from "./given.ts";
import type { ValueKind } from "./infallible.ts";
import { sightOf } from "./people.ts";

/* Columns that identify people, and the kinds of values that columns contain. */

/**
 * Each of its values belongs to one person: the subject, a unique column, or a key of a table of people; also through
 * views.
 */
export function identifies(given: Given, { relation, source }: BoundColumn): boolean {
  const sight = sightOf(given.sights, relation);
  if (sight === undefined || source.kind !== "own") return false;
  const { name } = source.column;
  return sight.people?.subject?.column === name || isKey(given, sight.relation, name, new Set());
}

function isKey(given: Given, relation: Relation, own: string, seen: Set<number>): boolean {
  if (seen.has(relation.oid)) return false;
  seen.add(relation.oid);
  const isUnique = uniques(relation).some((columns) => columns.length === 1 && columns[0] === own);
  return (
    isUnique ||
    relation.foreignKeys.some(
      ({ columns, references }) => columns.includes(own) && isOfPeople(given, references),
    ) ||
    isKeyBelow(given, relation, own, seen)
  );
}

/** Follows what a view's column copies, what a generated column is made from, and a child's column to its parents. */
function isKeyBelow(given: Given, relation: Relation, own: string, seen: Set<number>): boolean {
  const { relationsByOid } = given.catalog;
  const origin = relation.lineage?.origins.get(own);
  const base = origin && relationsByOid.get(origin.relation);
  const copied = base?.columns.find(({ number }) => number === origin?.column)?.name;
  if (base !== undefined && copied !== undefined && isKey(given, base, copied, seen)) return true;
  const { generatedFrom = [] } = relation.columns.find(({ name }) => name === own) ?? {};
  const sources = relation.columns.filter(({ number }) => generatedFrom.includes(number));
  if (sources.some(({ name }) => isKey(given, relation, name, new Set()))) return true;
  return relation.parents.some((oid) => {
    const parent = relationsByOid.get(oid);
    return parent !== undefined && isKey(given, parent, own, seen);
  });
}

/** Sets of columns in which no two rows are equal; for a unique expression, the columns that it is made from. */
export function uniques({ primaryKey, indexes, constraints }: Relation): readonly (readonly string[])[] {
  const indexed = indexes.filter(({ unique }) => unique).map(({ columns }) => columns);
  const colliding = constraints
    .filter(({ kind }) => kind === "unique" || kind === "exclusion")
    .flatMap(({ columns, keys }) => [columns, keys]);
  return [primaryKey, ...indexed, ...colliding].filter((columns) => columns.length > 0);
}

/** A relation that the role may not read could be about anyone. */
function isOfPeople({ catalog, sights }: Given, oid: number): boolean {
  const relation = catalog.relationsByOid.get(oid);
  const sight = relation && sights.of(relation);
  return sight === undefined || !sight.ok || sight.sight.people !== undefined;
}

const TIMES = new Set(["date", "timestamp", "timestamptz"]);
const INTEGERS = new Set(["int2", "int4", "int8"]);
const TEXTS = new Set(["text", "varchar", "bpchar", "name", "citext"]);
const REALS = new Set(["numeric", "float4", "float8", "money"]);
const COMPARABLE = new Set(
  "bool char uuid time timetz interval inet cidr macaddr oid bit varbit bytea".split(" "),
);

/** The kind of value that a relation's column contains. */
export function kindOfColumn(catalog: Catalog, { typeOid }: Column): ValueKind {
  return kindOfType(catalog, catalog.typesByOid.get(typeOid));
}

function kindOfType(catalog: Catalog, type: CatalogType | undefined): ValueKind {
  if (type === undefined) return undefined;
  if (type.kind === "enum") return "other";
  if (type.kind === "domain") return kindOfType(catalog, catalog.typesByOid.get(type.element));
  if (type.schema !== "pg_catalog" && type.name !== "citext") return undefined;
  if (TIMES.has(type.name)) return "time";
  if (INTEGERS.has(type.name)) return "integer";
  if (REALS.has(type.name)) return "real";
  if (TEXTS.has(type.name)) return "text";
  return COMPARABLE.has(type.name) ? "other" : undefined;
}
