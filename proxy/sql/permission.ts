import { type CatalogFunction, returnsNothing } from "../catalog/catalog.ts";
import type { Analysis } from "./analysis.ts";

/**
 * What a function reads is not masked, and so what it returns is nobody's to see unless the policy says so. `how` names it
 * where the statement does not.
 */
export function mayCall(analysis: Analysis, fn: CatalogFunction, how = ""): void {
  const { role, catalog } = analysis.scope;
  const name = `${fn.schema}.${fn.name}`;
  const result = role.calls.get(name);
  if (result === undefined) {
    analysis.deny(
      `role "${role.name}" may not call ${name}${how}`,
      "calls",
      `What a function reads is not masked. If it may be called, add ${name} under "calls:" of ${analysis.rolePlace}; if the role may see what it returns, { ${name}: shown }.`,
    );
  }
  if (result === "hidden" && role.sees !== "all" && !returnsNothing(catalog, fn)) {
    analysis.deny(
      `role "${role.name}" may not see what ${name} returns${how}`,
      "calls",
      `What a function reads is not masked. If the role may see what it returns, say { ${name}: shown } under "calls:" of ${analysis.rolePlace}.`,
    );
  }
}
