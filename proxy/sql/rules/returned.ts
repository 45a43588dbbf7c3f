import type { ColumnRef, InsertStmt, Node, ResTarget } from "libpg-query";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { ColumnSight, RelationSight } from "../sight.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";

/*
 * RETURNING: the target of a write is not a subquery, so its masked columns are returned masked only if they are named
 * on their own.
 */

/** `*`, `target.*` or a masked column, which is replaced by columns as the role sees them. */
export interface ReturnedItem {
  readonly item: ResTarget;
  readonly reference: ColumnRef;
  readonly columns: readonly ColumnSight[];
}

export type ReturnedFinding =
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "written out"; readonly returned: ReturnedItem };

/** RETURNING WITH names the rows before and after the write, which cannot be replaced. */
export function returnedVersions({ role, sights }: Given, { node, write }: BoundQuery): Refusal | undefined {
  const sight = write && sightOf(sights, write.target);
  const { returningClause } = node as InsertStmt;
  if (sight === undefined || !isMasked(sight) || returningClause?.options === undefined) return undefined;
  return denied(
    role,
    `RETURNING WITH is not known on ${sight.key}`,
    "sees",
    "Leave WITH (OLD AS …, NEW AS …) out.",
  );
}

/** Undefined for an item that stays unchanged: an expression, which may not name masked columns. */
export function returnedItem(given: Given, query: BoundQuery, node: Node): ReturnedFinding | undefined {
  const { write, from } = query;
  const sight = write && sightOf(given.sights, write.target);
  const item = nodeOf(node)[1] as ResTarget;
  const [type, body] = item.val === undefined ? [] : nodeOf(item.val);
  if (write === undefined || sight === undefined || type !== "ColumnRef") return undefined;
  const reference = body as ColumnRef;
  const { fields = [] } = reference;
  const last = fields.at(-1);
  if (last === undefined) return undefined;
  const isStar = nodeOf(last)[0] === "A_Star";
  // With FROM, the star of a relation that only needs its columns listed stays unchanged.
  if (!isMasked(sight) && !(isStar && sight.listed && from.length === 0)) return undefined;
  const names = fields.map(stringOf);
  if (fields.length > 1 && names.at(-2) !== write.target.alias) return undefined;
  const columns = sight.columns.filter(
    ({ kind, column }) => kind !== "absent" && (isStar || column.name === names.at(-1)),
  );
  if (columns.length === 0 || (!isStar && columns[0]?.kind === "real")) return undefined;
  if (from.length > 0)
    return {
      kind: "refused",
      refusal: denied(
        given.role,
        `RETURNING masked columns of ${sight.key} is not known together with FROM or USING`,
        "sees",
        "Name the columns that are seen.",
      ),
    };
  return { kind: "written out", returned: { item, reference, columns } };
}

function isMasked({ columns }: RelationSight): boolean {
  return columns.some(({ kind }) => kind !== "real");
}
