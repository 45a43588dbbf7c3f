import {
  type Catalog,
  type CatalogFunction,
  type CatalogOperator,
  type CatalogType,
  type Relation,
  relationKey,
} from "./catalog.ts";
import { groupBy } from "./group.ts";

/** A catalog without its indexes: each item once, in the order in which it was read. */
export interface CatalogParts
  extends Pick<Catalog, "database" | "serverVersion" | "version" | "schemas" | "casts"> {
  readonly relations: readonly Relation[];
  readonly functions: readonly CatalogFunction[];
  readonly operatorsOutside: readonly CatalogOperator[];
  readonly types: readonly CatalogType[];
}

/** Builds the catalog from its parts. */
export function assembled({ relations, functions, operatorsOutside, types, ...rest }: CatalogParts): Catalog {
  return {
    ...rest,
    relations: new Map(relations.map((one) => [relationKey(one.schema, one.name), one])),
    relationsByOid: byOid(relations),
    relationsByName: groupBy(relations, nameOf),
    functionsByName: groupBy([...functions, ...speltOtherwise(functions, rest.serverVersion)], nameOf),
    functionsByOid: byOid(functions),
    operatorsOutside: groupBy(operatorsOutside, nameOf),
    typesByName: groupBy(types, nameOf),
    typesByOid: byOid(types),
  };
}

/** The parts of a catalog; `assembled` builds an equal catalog from them. */
export function partsOf(catalog: Catalog): CatalogParts {
  const { database, serverVersion, version, schemas, casts } = catalog;
  return {
    ...{ database, serverVersion, version, schemas, casts },
    relations: [...catalog.relationsByOid.values()],
    functions: [...catalog.functionsByOid.values()],
    operatorsOutside: [...catalog.operatorsOutside.values()].flat(),
    types: [...catalog.typesByOid.values()],
  };
}

/**
 * In our grammar EXTRACT(year FROM x) calls pg_catalog.extract; up to Postgres 13 the server calls date_part instead.
 */
function speltOtherwise(
  functions: readonly CatalogFunction[],
  serverVersion: number,
): readonly CatalogFunction[] {
  if (serverVersion >= 140_000) return [];
  return functions
    .filter(({ schema, name }) => schema === "pg_catalog" && name === "date_part")
    .map((called) => ({ ...called, name: "extract" }));
}

function byOid<Thing extends { readonly oid: number }>(things: readonly Thing[]): ReadonlyMap<number, Thing> {
  return new Map(things.map((one) => [one.oid, one]));
}

function nameOf({ name }: { readonly name: string }): string {
  return name;
}
