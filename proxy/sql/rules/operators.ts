import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { isHarmlessFunction } from "../functions.ts";
import type { Given } from "./given.ts";

/**
 * Why an operator may not be applied. It runs a function, so an operator of that name outside pg_catalog must be an
 * extension's own C code.
 */
export function forbiddenOperator(
  { queries }: BoundStatement,
  { catalog }: Pick<Given, "catalog">,
): Refusal | undefined {
  const { operatorsOutside, functionsByOid } = catalog;
  if (operatorsOutside.size === 0) return undefined;
  for (const { operators } of queries)
    for (const { symbol, schema } of operators) {
      if (schema === "pg_catalog") continue;
      const strange = operatorsOutside
        .get(symbol)
        ?.find((operator) => !isHarmlessFunction(functionsByOid.get(operator.function)));
      if (strange !== undefined)
        return refuse(
          "42501",
          `an operator ${strange.schema}.${symbol} runs code that Sluice does not know`,
          {
            hint: `Write OPERATOR(pg_catalog.${symbol}) for Postgres's own.`,
          },
        );
    }
  return undefined;
}
