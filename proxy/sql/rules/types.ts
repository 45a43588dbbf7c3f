import type { TypeName } from "libpg-query";
import type { Catalog, CatalogType } from "../../catalog/catalog.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { stringOf } from "../parse/grammar.ts";
import type { Given } from "./given.ts";

/**
 * Why a type may not be named: a cast runs its input function. Refused are domains with a CHECK, row types, and input
 * functions in SQL or PL code.
 */
export function forbiddenType(
  { queries, parameterTypes }: BoundStatement,
  { catalog, role }: Pick<Given, "catalog" | "role">,
): Refusal | undefined {
  for (const type of [...queries.flatMap(({ types }) => types), ...parameterTypes]) {
    if (type.pct_type === true)
      return refuse("42501", "%TYPE is not known in a statement of a guarded role", {
        hint: "Write the type itself.",
      });
    if (!isPlain(catalog, type))
      return refuse(
        "42501",
        `role "${role.name}" may not cast to ${(type.names ?? []).map(stringOf).join(".")}`,
        {
          hint: "Allowed are Postgres's own types, enums, and types of extensions; not domains and row types.",
        },
      );
  }
  return undefined;
}

function isPlain(catalog: Catalog, type: TypeName): boolean {
  const { meant, schema } = typesMeant(catalog, type);
  if (schema === undefined && meant.some((each) => each.schema === "pg_catalog")) return true;
  if (schema === "pg_catalog") return meant.length > 0;
  return meant.length > 0 && meant.every(({ plainInput }) => plainInput);
}

/** All types that the names may mean. */
export function typesNamed(catalog: Catalog, types: readonly TypeName[]): readonly number[] {
  return types.flatMap((type) => typesMeant(catalog, type).meant.map(({ oid }) => oid));
}

function typesMeant(
  { typesByName }: Catalog,
  { names = [] }: TypeName,
): { readonly meant: readonly CatalogType[]; readonly schema: string | undefined } {
  const [name = "", schema] = names.map(stringOf).toReversed();
  const all = typesByName.get(name) ?? [];
  return { meant: schema === undefined ? all : all.filter((each) => each.schema === schema), schema };
}
