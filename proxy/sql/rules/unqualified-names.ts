import type { ColumnRef } from "libpg-query";
import type { BoundRelation, BoundStatement, Meaning } from "../bind/bound.ts";
import type { Sights } from "../sight.ts";
import { sightOf } from "./people.ts";

/**
 * Names of columns whose schema is removed: `public.customers.email` does not reach into a subquery named customers.
 */
export function namesToShorten(
  { meanings, needSchema, queries }: BoundStatement,
  sights: Sights,
): ReadonlySet<ColumnRef> {
  const targets = new Set(queries.flatMap(({ write }) => write?.target ?? []));
  const found = new Set<ColumnRef>();
  for (const [node, meaning] of meanings) {
    const { fields = [] } = node as ColumnRef;
    // The server will report for some that they cannot be named there.
    if (fields.length < 3 || needSchema.has(node)) continue;
    const reference = referenceMeant(meaning);
    if (reference === undefined || reference.hasAlias || targets.has(reference)) continue;
    if (sightOf(sights, reference)?.listed === true) found.add(node as ColumnRef);
  }
  return found;
}

/** The relation before the last dot. */
function referenceMeant(meaning: Meaning): BoundRelation | undefined {
  switch (meaning.kind) {
    case "column":
      return meaning.column.relation;
    case "row":
      return meaning.relation;
    case "star":
      return meaning.relations[0];
    case "uncertain":
      return meaning.candidates.map(referenceMeant).find((each) => each !== undefined);
    default:
      return undefined;
  }
}
