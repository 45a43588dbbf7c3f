import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";

/** `aggregates_only`: relations beside a write's target could be stored row by row, and RETURNING shows rows. */
export function unsummarisedWrite(
  { role, sights }: Given,
  { relations, write, clauses }: BoundQuery,
): Refusal | undefined {
  if (role.aggregatesOnly === undefined || write === undefined) return undefined;
  for (const reference of relations) {
    const sight = sightOf(sights, reference);
    if (sight?.people === undefined) continue;
    if (reference !== write.target)
      return denied(role, `role "${role.name}" may only see summaries of ${sight.key}`, KEY, BESIDE);
    if (clauses.returning !== undefined)
      return denied(role, `role "${role.name}" may only see summaries of ${sight.key}`, KEY, RETURNED);
  }
  return undefined;
}

const KEY = "aggregates_only";

const BESIDE = "Leave it out of the write, or take a summary of it in a subquery.";
const RETURNED = "Leave RETURNING out.";
