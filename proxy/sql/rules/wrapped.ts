import type { Refusal } from "../../wire/refusal.ts";
import type { BoundRelation } from "../bind/bound.ts";
import type { RelationSight } from "../sight.ts";
import type { ShownColumns } from "./base-columns.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";

/* Which references are read through a subquery, and what such a subquery cannot provide. */

/** The role's view of a reference that is replaced by a subquery; undefined if the relation itself is read. */
export function wrappedSight(
  { sights }: Pick<Given, "sights">,
  shown: ShownColumns,
  reference: BoundRelation,
): RelationSight | undefined {
  const sight = sightOf(sights, reference);
  if (sight === undefined) return undefined;
  // A sample belongs to the table: it goes where the table is named.
  const isSampled = reference.source.kind === "table" && reference.source.sample !== undefined;
  return isWrapped(shown, sight, reference) || (isSampled && sight.listed) ? sight : undefined;
}

/**
 * A star would show the system columns of a subquery. A relation that only needs its columns listed then stays
 * unchanged.
 */
export function isWrapped(shown: ShownColumns, sight: RelationSight, reference: BoundRelation): boolean {
  const isListed = shown.wholes.has(reference) && !shown.systemColumns.has(reference);
  return sight.guarded || (sight.listed && isListed);
}

/** Why a subquery cannot replace a reference that must be read through one. */
export function unwrappable(
  given: Given,
  shown: ShownColumns,
  reference: BoundRelation,
): Refusal | undefined {
  const sight = wrappedSight(given, shown, reference);
  if (sight === undefined || reference.source.kind !== "table") return undefined;
  const { role } = given;
  const renames = (reference.source.name.alias?.colnames?.length ?? 0) > 0;
  if (renames && sight.columns.some(({ kind }) => kind === "absent"))
    return denied(
      role,
      `role "${role.name}" sees ${sight.key} without some of its columns, so they cannot be renamed by position`,
      "sees",
      "Leave out the column list after the alias.",
    );
  const [column] = shown.wholes.has(reference) ? (shown.systemColumns.get(reference) ?? []) : [];
  return column === undefined ? undefined : noSystemColumn(given, sight, column);
}

/** A star or a whole row would show the column, and Postgres shows no system column there. */
export function noSystemColumn(
  { role }: Given,
  { key }: Pick<RelationSight, "key">,
  column: string,
): Refusal {
  return denied(
    role,
    `role "${role.name}" sees ${key} masked or in part, and so without its system column ${column} here`,
    "sees",
    "Name the columns that are needed instead of *; or use the primary key, and for optimistic locking a column that counts versions.",
  );
}
