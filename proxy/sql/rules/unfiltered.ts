import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import type { Given } from "./given.ts";
import type { Lookup } from "./lookups.ts";
import { unfilteredReferences } from "./required-filters.ts";

/** `require_filter`: such a relation is neither read nor written as a whole. */
export function unfiltered(
  statement: BoundStatement,
  given: Given,
  lookups: readonly Lookup[],
): Refusal | undefined {
  const [first] = unfilteredReferences(statement, given, lookups);
  if (first?.source.kind !== "table") return undefined;
  const { role } = given;
  const { relation } = first.source;
  const query = statement.queries.find(({ relations }) => relations.includes(first));
  const indexed = relation.indexes.flatMap((index) => index.columns[0] ?? []);
  const columns = [...new Set([...relation.primaryKey.slice(0, 1), ...indexed])];
  const does = query?.write?.target === first ? "change rows of" : "read";
  return refuse(
    "54000",
    `role "${role.name}" may ${does} ${relation.schema}.${relation.name} only with a condition on an indexed column`,
    {
      rule: `roles.${role.name}.require_filter`,
      hint:
        query?.form === "copy"
          ? "Use COPY (SELECT … WHERE …) TO STDOUT."
          : `Add a condition such as "${columns[0] ?? "id"} = …", with =, IN or BETWEEN on the column itself; indexed are ${columns.join(", ") || "none"}.`,
    },
  );
}
