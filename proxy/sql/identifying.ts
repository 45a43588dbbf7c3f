import type { CatalogType, Relation } from "../catalog/catalog.ts";
import type { Analysis, FromReference } from "./analysis.ts";
import type { ValueKind } from "./infallible.ts";

/* Columns that tell people apart, and what kind of values columns hold. */

/** One value of it is one person's: the subject, a unique column, a key of a table of people; also through views. */
export function identifies(analysis: Analysis, { use }: FromReference, own: string): boolean {
  if (use?.sight === undefined) return false;
  return use.sight.people?.subject?.column === own || isKey(analysis, use.relation, own, new Set());
}

function isKey(analysis: Analysis, relation: Relation, own: string, seen: Set<number>): boolean {
  if (seen.has(relation.oid)) return false;
  seen.add(relation.oid);
  const isUnique = uniques(relation).some((columns) => columns.length === 1 && columns[0] === own);
  return (
    isUnique ||
    relation.foreignKeys.some(
      ({ columns, references }) => columns.includes(own) && isOfPeople(analysis, references),
    ) ||
    isKeyBelow(analysis, relation, own, seen)
  );
}

/** What a view's column copies, what a generated one is made from, and what a child's column is in its parents. */
function isKeyBelow(analysis: Analysis, relation: Relation, own: string, seen: Set<number>): boolean {
  const { relationsByOid } = analysis.scope.catalog;
  const origin = relation.lineage?.origins.get(own);
  const base = origin && relationsByOid.get(origin.relation);
  const copied = base?.columns.find(({ number }) => number === origin?.column)?.name;
  if (base !== undefined && copied !== undefined && isKey(analysis, base, copied, seen)) return true;
  const { generatedFrom = [] } = relation.columns.find(({ name }) => name === own) ?? {};
  const sources = relation.columns.filter(({ number }) => generatedFrom.includes(number));
  if (sources.some(({ name }) => isKey(analysis, relation, name, new Set()))) return true;
  return relation.parents.some((oid) => {
    const parent = relationsByOid.get(oid);
    return parent !== undefined && isKey(analysis, parent, own, seen);
  });
}

/** What no two rows have in common; of a unique expression, what it is made from. */
export function uniques({ primaryKey, indexes, constraints }: Relation): readonly (readonly string[])[] {
  const indexed = indexes.filter(({ unique }) => unique).map(({ columns }) => columns);
  const colliding = constraints
    .filter(({ kind }) => kind === "unique" || kind === "exclusion")
    .flatMap(({ columns, keys }) => [columns, keys]);
  return [primaryKey, ...indexed, ...colliding].filter((columns) => columns.length > 0);
}

/** What the role may not read could be anybody's. */
function isOfPeople({ scope, sights }: Analysis, oid: number): boolean {
  const relation = scope.catalog.relationsByOid.get(oid);
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

/** What kind of value a relation's own column holds. */
export function kindOfColumn(analysis: Analysis, { use }: FromReference, own: string | undefined): ValueKind {
  const column = use?.relation.columns.find(({ name }) => name === own);
  return column && kindOfType(analysis, analysis.scope.catalog.typesByOid.get(column.typeOid));
}

function kindOfType(analysis: Analysis, type: CatalogType | undefined): ValueKind {
  if (type === undefined) return undefined;
  if (type.kind === "enum") return "other";
  if (type.kind === "domain")
    return kindOfType(analysis, analysis.scope.catalog.typesByOid.get(type.element));
  if (type.schema !== "pg_catalog" && type.name !== "citext") return undefined;
  if (TIMES.has(type.name)) return "time";
  if (INTEGERS.has(type.name)) return "integer";
  if (REALS.has(type.name)) return "real";
  if (TEXTS.has(type.name)) return "text";
  return COMPARABLE.has(type.name) ? "other" : undefined;
}
