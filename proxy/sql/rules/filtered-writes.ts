import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { conjuncts } from "../bind/pins.ts";
import { isLeakproof } from "../comparisons.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { simpleComparison } from "./simple-comparisons.ts";
import type { Target } from "./write-findings.ts";

/**
 * A write's target of which the role sees only some rows. It cannot be fenced, so the write's own conditions must
 * neither fail on nor reveal a row that the filter hides.
 */
export function tellingOfHiddenRows(
  statement: BoundStatement,
  { role }: Given,
  target: Target,
  { clauses, from }: BoundQuery,
): Refusal | undefined {
  if (target.sight?.filter === undefined) return undefined;
  const isSimple = (clauses.where ?? []).flatMap(conjuncts).every((conjunct) => {
    const condition = simpleComparison(statement, conjunct);
    return condition !== undefined && isLeakproof(condition.operator);
  });
  if (isSimple && from.length === 0) return undefined;
  return denied(
    role,
    `role "${role.name}" sees only a part of ${target.key}: it may write there by plain conditions only`,
    "only",
    "Use conditions of the form column = constant, joined by AND, and no FROM or USING.",
  );
}
