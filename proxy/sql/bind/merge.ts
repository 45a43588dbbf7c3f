import type { MergeStmt, MergeWhenClause } from "libpg-query";
import { nodeOf } from "../parse/grammar.ts";
import { type Binder, NotUnderstood } from "./binder.ts";
import type { BoundColumn, BoundRelation } from "./bound.ts";
import { bindFrom } from "./from-clause.ts";
import { relationsIn, reportConflicts } from "./from-parts.ts";
import { innerScope, item, type NameScope, type NamespaceItem, withItems } from "./name-scope.ts";
import { clauses, expressionsOf, NOTHING } from "./select.ts";
import { bindWiths } from "./with.ts";
import { assignedBy, returning, targetOf } from "./writes.ts";

/** MERGE (parser/parse_merge.c): the source cannot refer to the target; ON and RETURNING can refer to both. */
export function bindMerge(binder: Binder, body: MergeStmt, outer: NameScope): void {
  if (body.sourceRelation === undefined) throw new NotUnderstood("MERGE without a source", body);
  const { scope: level, withs } = bindWiths(binder, body.withClause, innerScope(outer));
  const target = targetOf(binder, body);
  const from = bindFrom(binder, [body.sourceRelation], level);
  const own = item(target);
  reportConflicts(binder, from.exposed, [own]);
  const scope = withItems(level, [...from.exposed, own]);
  binder.bind(body.joinCondition, scope);
  const actions = (body.mergeWhenClauses ?? []).map((node) => nodeOf(node)[1] as MergeWhenClause);
  const assigned = actions.flatMap((action) =>
    bindAction(binder, action, { target, own, from: from.exposed }, level),
  );
  const returned = returning(binder, body.returningClause, target, scope);
  binder.add(
    {
      ...NOTHING,
      ...returned,
      form: "merge",
      node: body,
      depth: level.depth,
      withs,
      from: from.items,
      relations: [target, ...relationsIn(from.items)],
      write: { target, assigned, source: undefined },
      clauses: clauses({
        match: [body.joinCondition, ...actions.map(({ condition }) => condition)].filter(
          (node) => node !== undefined,
        ),
        assignments: actions.flatMap(({ targetList = [] }) => targetList),
        values: actions.flatMap(({ values = [] }) => values),
        returning: body.returningClause?.exprs,
      }),
      ...expressionsOf({}, scope),
    },
    scope,
  );
}

interface Sides {
  readonly target: BoundRelation;
  readonly own: NamespaceItem;
  readonly from: readonly NamespaceItem[];
}

/** WHEN can refer to the sides that have a row (setNamespaceForMergeWhen). */
function bindAction(
  binder: Binder,
  action: MergeWhenClause,
  { target, own, from }: Sides,
  level: NameScope,
): readonly BoundColumn[] {
  const items = {
    MERGE_WHEN_MATCHED: [...from, own],
    MERGE_WHEN_NOT_MATCHED_BY_SOURCE: [own],
    MERGE_WHEN_NOT_MATCHED_BY_TARGET: from,
  }[action.matchKind ?? "MERGE_WHEN_MATCHED"];
  const scope = withItems(level, items);
  binder.bind(action.condition, scope);
  binder.bind(action.targetList, scope);
  binder.bind(action.values, scope);
  const isInsertOfAll = action.commandType === "CMD_INSERT" && action.targetList === undefined;
  return isInsertOfAll
    ? target.columns.slice(0, action.values?.length ?? 0)
    : assignedBy(binder, action.targetList ?? [], target);
}
