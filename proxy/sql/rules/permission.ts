import { type CatalogFunction, returnsNothing } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";

/**
 * Why the role may not call a function outside pg_catalog. What the function reads is not masked, so no one may see its
 * result unless the policy says so. `how` names it if the statement does not.
 */
export function forbiddenCall(
  { role, catalog }: Pick<Given, "role" | "catalog">,
  fn: CatalogFunction,
  how = "",
): Refusal | undefined {
  const name = `${fn.schema}.${fn.name}`;
  const result = role.calls.get(name);
  if (result === undefined)
    return denied(
      role,
      `role "${role.name}" may not call ${name}${how}`,
      "calls",
      `What a function reads is not masked. If it may be called, add ${name} under "calls:" of ${placeOfRole(role)}; if the role may see what it returns, { ${name}: shown }.`,
    );
  if (result === "hidden" && role.sees !== "all" && !returnsNothing(catalog, fn))
    return denied(
      role,
      `role "${role.name}" may not see what ${name} returns${how}`,
      "calls",
      `What a function reads is not masked. If the role may see what it returns, say { ${name}: shown } under "calls:" of ${placeOfRole(role)}.`,
    );
  return undefined;
}
