import { type Catalog, type CatalogFunction, isPlainExtensionFunction } from "../../catalog/catalog.ts";
import type { Call } from "../bind/bound.ts";
import { takesOne } from "../bind/names.ts";
import { isStandardFunction } from "../functions.ts";

/** The functions that a call may mean: without a schema, Postgres's own take precedence over others of the name. */
export function functionsMeant({ functionsByName }: Catalog, call: Call): readonly CatalogFunction[] {
  const { name, schema, form } = call;
  if (form === "syntax") return [];
  const all = functionsByName.get(name) ?? [];
  // A field's name cannot have a schema.
  if (form === "field") return all.filter(takesOne);
  if (schema !== undefined) return all.filter((fn) => fn.schema === schema);
  const own = all.filter((fn) => fn.schema === "pg_catalog");
  return own.length > 0 ? own : all;
}

/** Those of them that may read data that is in no column named by the statement. */
export function ownFunctions(catalog: Catalog, call: Call): readonly CatalogFunction[] {
  return functionsMeant(catalog, call).filter(
    (fn) => fn.schema !== "pg_catalog" && !isPlainExtensionFunction(fn) && !isStandardFunction(fn),
  );
}
