import { type Catalog, type CatalogOperator, isPlainExtensionFunction } from "../catalog/catalog.ts";
import type { ExpressionUse } from "./policy-sql.ts";

/**
 * Finds a user-defined operator that an expression of the policy may resolve to. Which operator is meant depends on the
 * session's search_path and on the types, and its code would run on real values. An operator written with its schema is
 * the policy's own choice. (Sluice cannot add pg_catalog for the policy: citext and other types have their own `=`, and
 * it is the one that is meant.)
 */
export function strangeOperator({ operators }: ExpressionUse, catalog: Catalog): CatalogOperator | undefined {
  for (const name of operators) {
    for (const operator of catalog.operatorsOutside.get(name) ?? []) {
      const fn = catalog.functionsByOid.get(operator.function);
      const isKnown = fn !== undefined && (fn.schema === "pg_catalog" || isPlainExtensionFunction(fn));
      if (!isKnown) return operator;
    }
  }
  return undefined;
}
