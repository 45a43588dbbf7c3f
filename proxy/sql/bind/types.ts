import type { Node, TypeCast, TypeName } from "libpg-query";
import type { Catalog, CatalogType } from "../../catalog/catalog.ts";
import { type Body, nodeOf, stringOf } from "../parse/grammar.ts";
import type { Meaning } from "./bound.ts";
import type { Environment } from "./environment.ts";

/*
 * Types of expressions, only as far as names depend on them: whether a function in FROM returns one column or those of
 * a row. Types that are not immediately apparent are unknown.
 */

/** The type that a name means; undefined if unknown. */
export function typeNamed(
  { catalog, searchPath }: Environment,
  name: TypeName | undefined,
): CatalogType | undefined {
  if (name === undefined || name.pct_type === true) return undefined;
  const [own = "", schema] = (name.names ?? []).map(stringOf).toReversed();
  const schemas = schema === undefined ? ["pg_catalog", ...searchPath] : [schema];
  const all = catalog.typesByName.get(own) ?? [];
  const found = schemas.flatMap((each) => all.find((type) => type.schema === each) ?? [])[0];
  const isArray = (name.arrayBounds?.length ?? 0) > 0;
  if (found === undefined || !isArray) return found;
  return catalog.typesByName.get(`_${own}`)?.find(({ element }) => element === found.oid);
}

/** The type of an expression that is a column or a cast. */
export function typeOf(
  environment: Environment,
  node: Node,
  meanings: ReadonlyMap<Body, Meaning>,
): CatalogType | undefined {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") return typeNamed(environment, (body as TypeCast).typeName);
  const meaning = meanings.get(body);
  return meaning?.kind === "column" && meaning.column.typeOid !== undefined
    ? environment.catalog.typesByOid.get(meaning.column.typeOid)
    : undefined;
}

/** Whether it is a single value, not a row of several columns. */
export function isScalar(catalog: Catalog, type: CatalogType | undefined): boolean {
  if (type === undefined) return false;
  if (type.kind === "domain") return isScalar(catalog, catalog.typesByOid.get(type.base));
  return type.kind !== "composite" && type.kind !== "pseudo";
}
