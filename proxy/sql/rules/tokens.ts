import type { Refusal } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { tokenColumnsOf } from "../tokens/columns.ts";
import { tokenUses } from "../tokens/uses.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import type { Lookup } from "./lookups.ts";

/**
 * What cannot work on columns whose values the database holds as tokens. A masked one may be searched by exact value as
 * a lookup only: a value that is compared elsewhere would be turned into a token, and the answer would tell who has it.
 */
export function forbiddenOnTokens(
  statement: BoundStatement,
  given: Given,
  lookups: readonly Lookup[],
): Refusal | undefined {
  const columns = tokenColumnsOf(given);
  if (columns === undefined) return undefined;
  const { compared, refusal } = tokenUses(statement, columns);
  if (refusal !== undefined) return refusal;
  const { role } = given;
  const searched = new Set<object>(
    lookups.flatMap(({ searches }) => searches.map(({ comparison }) => comparison.body)),
  );
  const stray = compared.find(
    ({ node, token }) =>
      role.sees !== "all" && role.sees.get(token.className) !== "always" && !searched.has(node),
  );
  return stray === undefined
    ? undefined
    : denied(
        role,
        `role "${role.name}" sees ${stray.token.name} masked and may search it by exact value only`,
        "finds",
        `The column is stored as tokens. Add the class "${stray.token.className}" under "finds:", and compare the column in the WHERE of the query that reads its table.`,
      );
}
