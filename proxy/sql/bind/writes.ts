import type {
  DeleteStmt,
  IndexElem,
  InsertStmt,
  Node,
  OnConflictClause,
  ResTarget,
  ReturningClause,
  ReturningOption,
  UpdateStmt,
} from "libpg-query";
import { nodeOf } from "../parse/grammar.ts";
import { type Binder, NotUnderstood } from "./binder.ts";
import type { BoundColumn, BoundQuery, BoundRelation } from "./bound.ts";
import { bindFrom } from "./from-clause.ts";
import { relationsIn } from "./from-parts.ts";
import {
  findRelation,
  innerScope,
  item,
  type NameScope,
  type NamespaceItem,
  withItems,
} from "./name-scope.ts";
import { bindTargets, type Outputs } from "./outputs.ts";
import { makeRelation, tableReference } from "./relation.ts";
import { clauses, expressionsOf, NOTHING, queryAt } from "./select.ts";
import { bindWiths } from "./with.ts";

/** INSERT (transformInsertStmt in parser/analyze.c): its source cannot refer to the target. */
export function bindInsert(binder: Binder, body: InsertStmt, outer: NameScope): void {
  const { scope, withs } = bindWiths(binder, body.withClause, innerScope(outer));
  const target = targetOf(binder, body);
  // `INSERT INTO t (a[…])`: a subscript can refer to what the source can.
  binder.bind(body.cols, scope);
  binder.bind(body.selectStmt, scope);
  const source = body.selectStmt && queryAt(binder, nodeOf(body.selectStmt)[1]);
  const own = withItems(scope, [item(target)]);
  const conflict = body.onConflictClause;
  const updated = conflict === undefined ? [] : onConflict(binder, conflict, { target, source }, own);
  const returned = returning(binder, body.returningClause, target, own);
  const given = body.cols ?? [];
  const assigned =
    given.length > 0
      ? assignedBy(binder, given, target)
      : target.columns.slice(0, source?.outputs.length ?? 0);
  binder.add(
    {
      ...NOTHING,
      ...returned,
      form: "insert",
      node: body,
      depth: scope.depth,
      withs,
      relations: [target],
      write: { target, assigned: [...assigned, ...updated], source },
      clauses: clauses({
        assignments: [...given, ...(conflict?.targetList ?? [])],
        conflict: conflict?.infer?.indexElems,
        where: conflict?.whereClause,
        match: conflict?.infer?.whereClause,
        returning: body.returningClause?.exprs,
      }),
      ...expressionsOf({}, own),
    },
    own,
  );
}

/** A write's target is a relation of the catalog, never a WITH query. */
export function targetOf(
  binder: Binder,
  body: { readonly relation?: InsertStmt["relation"] },
): BoundRelation {
  if (body.relation === undefined) throw new NotUnderstood("a write without a target", body);
  const target = tableReference(binder, body.relation, { isNullable: false, isTarget: true });
  binder.targets.add(target);
  return target;
}

/**
 * ON CONFLICT: the columns of the index can refer to the target; SET and WHERE can also refer to the row that was to be
 * inserted.
 */
function onConflict(
  binder: Binder,
  { infer, targetList, whereClause }: OnConflictClause,
  { target, source }: { readonly target: BoundRelation; readonly source: BoundQuery | undefined },
  scope: NameScope,
): readonly BoundColumn[] {
  for (const node of infer?.indexElems ?? [])
    indexElement(binder, nodeOf(node)[1] as IndexElem, target, scope);
  binder.bind(infer?.whereClause, scope);
  const excluded = rowOfTarget(target, "excluded", source);
  const both = withItems(scope, [...scope.items, item(excluded)]);
  binder.bind(targetList, both);
  binder.bind(whereClause, both);
  return assignedBy(binder, targetList ?? [], target);
}

function indexElement(binder: Binder, body: IndexElem, target: BoundRelation, scope: NameScope): void {
  binder.bind(body.expr, scope);
  if (body.name === undefined) return;
  const column = columnOfTarget(binder, body.name, target, body);
  if (column !== undefined) binder.meanings.set(body, { kind: "column", column, depth: scope.depth });
}

function columnOfTarget(
  binder: Binder,
  name: string,
  target: BoundRelation,
  node: object,
): BoundColumn | undefined {
  const column = target.columns.find((each) => each.name === name);
  if (column === undefined && !target.hasUnknownColumns)
    binder.problem("42703", `column "${name}" of relation "${target.alias}" does not exist`, node);
  return column;
}

/** The target's columns assigned by `SET a = …` or by an INSERT's column list. */
export function assignedBy(
  binder: Binder,
  nodes: readonly Node[],
  target: BoundRelation,
): readonly BoundColumn[] {
  return nodes.flatMap((node) => {
    const { name = "", ...place } = nodeOf(node)[1] as ResTarget;
    return columnOfTarget(binder, name, target, place) ?? [];
  });
}

/** Another row of the target's shape. */
function rowOfTarget(target: BoundRelation, alias: string, values: BoundQuery | undefined): BoundRelation {
  return makeRelation({
    source: { kind: "row of target", target, values },
    node: target.node,
    alias: { aliasname: alias },
    ownName: alias,
    columns: target.columns.map((column) => ({
      name: column.name,
      typeOid: column.typeOid,
      source: { kind: "merged", columns: [column], plain: alias === "excluded" ? undefined : column },
    })),
    hasUnknownColumns: target.hasUnknownColumns,
    isNullable: false,
  });
}

/** Since Postgres 18 RETURNING can name the row before and after (addNSItemForReturning in parser/analyze.c). */
const HAVE_OLD_AND_NEW = 180_000;

/** RETURNING can refer to what the write's WHERE can. */
export function returning(
  binder: Binder,
  clause: ReturningClause | undefined,
  target: BoundRelation,
  scope: NameScope,
): Outputs {
  if (clause === undefined) return { outputs: [], hasUnknownOutputs: false };
  const hasThem = binder.environment.catalog.serverVersion >= HAVE_OLD_AND_NEW;
  const rows = hasThem ? oldAndNew(clause, target, scope) : [];
  return bindTargets(binder, clause.exprs, withItems(scope, [...scope.items, ...rows]));
}

/** They are called `old` and `new` if nothing else has that name, or as WITH (OLD AS …) specifies. */
function oldAndNew(
  clause: ReturningClause,
  target: BoundRelation,
  scope: NameScope,
): readonly NamespaceItem[] {
  const options = (clause.options ?? []).map((node) => nodeOf(node)[1] as ReturningOption);
  return (["OLD", "NEW"] as const).flatMap((row) => {
    const given = options.find(({ option }) => option === `RETURNING_OPTION_${row}`)?.value;
    const own = row.toLowerCase();
    const isTaken = findRelation({ ...scope, outer: undefined }, undefined, own).found !== undefined;
    if (given === undefined && isTaken) return [];
    return [{ ...item(rowOfTarget(target, given ?? own, undefined)), showsColumns: false }];
  });
}

/** UPDATE and DELETE: FROM or USING cannot refer to the target, everything else can refer to both. */
export function bindUpdate(binder: Binder, body: UpdateStmt, outer: NameScope): void {
  change(binder, body, { form: "update", from: body.fromClause, assignments: body.targetList }, outer);
}

export function bindDelete(binder: Binder, body: DeleteStmt, outer: NameScope): void {
  change(binder, body, { form: "delete", from: body.usingClause, assignments: undefined }, outer);
}

interface Change {
  readonly form: "update" | "delete";
  readonly from: readonly Node[] | undefined;
  readonly assignments: readonly Node[] | undefined;
}

function change(
  binder: Binder,
  body: UpdateStmt | DeleteStmt,
  { form, from: nodes, assignments }: Change,
  outer: NameScope,
): void {
  const { scope: level, withs } = bindWiths(binder, body.withClause, innerScope(outer));
  const target = targetOf(binder, body);
  const from = bindFrom(binder, nodes, level, [{ ...item(target), isForbidden: true }]);
  const scope = withItems(level, [item(target), ...from.exposed]);
  binder.bind(body.whereClause, scope);
  const returned = returning(binder, body.returningClause, target, scope);
  binder.bind(assignments, scope);
  binder.add(
    {
      ...NOTHING,
      ...returned,
      form,
      node: body,
      depth: level.depth,
      withs,
      from: from.items,
      relations: [target, ...relationsIn(from.items)],
      write: { target, assigned: assignedBy(binder, assignments ?? [], target), source: undefined },
      clauses: clauses({
        assignments,
        where: body.whereClause,
        returning: body.returningClause?.exprs,
      }),
      ...expressionsOf({}, scope),
    },
    scope,
  );
}
