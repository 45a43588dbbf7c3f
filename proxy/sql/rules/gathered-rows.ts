import { limitKey, limitsReads } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { denied } from "./denied.ts";
import { gatheringsOf } from "./gathering.ts";
import type { Given } from "./given.ts";
import { countsPeople } from "./people.ts";
import { ownCalls } from "./people-shown.ts";
import { isOfData, type Use } from "./relations.ts";

/** Many people in one row would bypass a row limit. */
export function gatheredRows(
  statement: BoundStatement,
  given: Given,
  uses: readonly Use[],
): Refusal | undefined {
  const { role } = given;
  // If people are counted, gathered rows have a price: their people by name, or their size.
  if (!limitsReads(role) || countsPeople(role)) return undefined;
  const relation = uses.find(
    (use) => isOfData(use) && (use.sight?.people !== undefined || use.sight?.guarded === true),
  );
  if (relation === undefined && ownCalls(statement, given) === 0) return undefined;
  const [first] = gatheringsOf(statement, given);
  const gathers = first?.what ?? (uses.some(({ sight }) => sight?.gathers) ? "a view that does" : undefined);
  if (gathers === undefined) return undefined;
  return denied(
    role,
    `role "${role.name}" has a limit and may not gather rows of ${relation?.key ?? "a function"} by ${gathers}`,
    limitKey(role),
    "Ask for the rows themselves; counts, sums and averages are fine. One person's rows may be gathered: of rows that are joined by another table's key, a path as their subject says whose they are (subject: ticket_id -> public.tickets.customer_id).",
  );
}
