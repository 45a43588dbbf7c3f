import type { InsertStmt } from "libpg-query";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import type { Target } from "./write-findings.ts";
import { refusingColumns } from "./written-tables.ts";

/**
 * ON CONFLICT: whether a row conflicts reveals whether a value exists, and DO UPDATE writes rows that a filter may
 * hide.
 */
export function tellingConflict(given: Given, { node }: BoundQuery, target: Target): Refusal | undefined {
  const { onConflictClause: clause } = node as InsertStmt;
  if (clause === undefined) return undefined;
  const { role } = given;
  const { relation, key, sight } = target;
  const isMasked = sight?.columns.some(
    ({ kind, column }) => kind !== "real" && refusingColumns(given, relation).has(column.name),
  );
  if (clause.infer?.indexElems === undefined && isMasked)
    return denied(
      role,
      `ON CONFLICT on ${key} would reveal which masked values exist`,
      "sees",
      "Name the columns of the conflict, such as ON CONFLICT (id).",
    );
  if (sight?.filter === undefined || clause.action !== "ONCONFLICT_UPDATE") return undefined;
  return denied(
    role,
    `role "${role.name}" sees only a part of ${key} and may not update it by ON CONFLICT`,
    "only",
    "Use UPDATE.",
  );
}
