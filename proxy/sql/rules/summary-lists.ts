import { type Relation, relationKey } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { reached } from "../lineage.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { namedReferences } from "./summary-clauses.ts";

/**
 * A table that the role writes may hold a list of the role's own making: joined by a column that is nearly unique, it picks
 * any group of people (docs/aggregates.md). Rows of people that the role writes can be marked as such a group.
 */
export function ownList(given: Given, query: BoundQuery): Refusal | undefined {
  const { role } = given;
  const list = namedReferences(query)
    .flatMap(({ source }) => (source.kind === "table" ? [source.relation] : []))
    .find((relation) => isWritten(given, relation));
  if (list === undefined) return undefined;
  const key = relationKey(list.schema, list.name);
  return denied(
    role,
    `role "${role.name}" may not read people together with ${key}, which it may write`,
    "aggregates_only",
    "What it writes there could pick single people: write conditions on the columns themselves, or store summaries in a table that is not joined.",
  );
}

/** Also a view of such a table. */
function isWritten({ sights, catalog }: Given, relation: Relation): boolean {
  const below = reached([relation], ({ lineage }) =>
    (lineage?.dependsOn ?? []).flatMap(({ relation: oid }) => catalog.relationsByOid.get(oid) ?? []),
  );
  return below.some((each) => sights.takers(each).some((taker) => sights.mayWrite(taker)));
}
