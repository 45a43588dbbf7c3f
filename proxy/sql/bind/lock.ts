import type { LockStmt, RangeVar } from "libpg-query";
import { nodeOf } from "../parse/grammar.ts";
import type { Binder } from "./binder.ts";
import { innerScope, type NameScope } from "./name-scope.ts";
import { tableReference } from "./relation.ts";
import { expressionsOf, NOTHING } from "./select.ts";

/** LOCK names relations, never WITH queries, and affects all of their columns. */
export function bindLock(binder: Binder, body: LockStmt, outer: NameScope): void {
  const scope = innerScope(outer);
  const relations = (body.relations ?? []).map((node) =>
    tableReference(binder, nodeOf(node)[1] as RangeVar, { isNullable: false, isTarget: true }),
  );
  binder.add(
    {
      ...NOTHING,
      form: "lock",
      node: body,
      depth: scope.depth,
      relations,
      clauses: {},
      ...expressionsOf({}, scope),
    },
    scope,
  );
}
