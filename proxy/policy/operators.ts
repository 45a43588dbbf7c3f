import { type Catalog, type CatalogOperator, isPlainExtensionFunction } from "../catalog/catalog.ts";
import type { ExpressionUse } from "./expressions.ts";

/**
 * An operator of a user's own that an expression of the policy may mean. Which one is meant hangs on the session's
 * search_path and on the types, and its code would run on real values; one that is written with its schema is the
 * policy's own choice. (Postgres's own cannot be written in for the policy: citext and others have a `=` of theirs,
 * and it is meant.)
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
