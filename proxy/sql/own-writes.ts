import type { MergeStmt, MergeWhenClause, Node, ResTarget } from "libpg-query";
import { type Relation, relationKey } from "../catalog/catalog.ts";
import type { Analysis, RelationUse } from "./analysis.ts";
import { nodeOf } from "./grammar.ts";
import { type Dependence, type OwnRights, ownRights } from "./own-rights.ts";

/* No role may write what its own conditions depend on, unless the policy says so. Nor in a transaction that it rolls
 * back: what it reads before that has left by then. */

type Rows = "inserts" | "deletes";

/** UPDATE, and ON CONFLICT DO UPDATE. */
export function refuseOwnConditions(
  analysis: Analysis,
  use: RelationUse | undefined,
  targets: readonly Node[] | undefined,
): void {
  if (use === undefined) return;
  const rights = rightsOf(analysis);
  const names = (targets ?? []).map((node) => (nodeOf(node)[1] as ResTarget).name ?? "");
  for (const written of columnsWritten(analysis, use.relation, names)) {
    for (const { basis, relation, columns } of rights.columns.get(written.relation.oid) ?? []) {
      const column = written.names.find((name) => columns.has(name));
      if (column !== undefined) refuseColumn(analysis, use, { basis, relation, columns }, column);
    }
  }
}

/** The key of the role's condition that hangs on the column, if one does. */
export function dependsOn(analysis: Analysis, use: RelationUse, column: string): string | undefined {
  const rights = rightsOf(analysis);
  for (const written of columnsWritten(analysis, use.relation, [column])) {
    for (const { basis, columns } of rights.columns.get(written.relation.oid) ?? [])
      if (written.names.some((name) => columns.has(name))) return basis.key;
  }
  return undefined;
}

/** INSERT and COPY FROM: a new row could make a condition hold for rows that are there. */
export function refuseOwnInsert(analysis: Analysis, use: RelationUse | undefined): void {
  if (use !== undefined) refuseRows(analysis, use, "inserts");
}

/** DELETE: a row less could make a condition hold. */
export function refuseOwnDelete(analysis: Analysis, use: RelationUse | undefined): void {
  if (use !== undefined) refuseRows(analysis, use, "deletes");
}

export function refuseOwnMerge(analysis: Analysis, use: RelationUse | undefined, body: MergeStmt): void {
  for (const node of body.mergeWhenClauses ?? []) {
    const { commandType, targetList } = nodeOf(node)[1] as MergeWhenClause;
    if (commandType === "CMD_INSERT") refuseOwnInsert(analysis, use);
    else if (commandType === "CMD_DELETE") refuseOwnDelete(analysis, use);
    else refuseOwnConditions(analysis, use, targetList);
  }
}

function rightsOf({ scope }: Analysis): OwnRights {
  return ownRights(scope.role, scope.policy, scope.catalog);
}

function refuseColumn(analysis: Analysis, use: RelationUse, dependence: Dependence, column: string): never {
  const { basis, relation } = dependence;
  const name = `${relationKey(relation.schema, relation.name)}.${column}`;
  const through = relation === use.relation ? "" : ` through ${use.key}`;
  return analysis.deny(
    `role "${analysis.scope.role.name}" may not change ${name}${through}: a condition under "${basis.key}:" of the role depends on it`,
    basis.key,
    `The user could make the condition hold for any row. ${remedy(analysis, [name])}`,
  );
}

function refuseRows(analysis: Analysis, use: RelationUse, kind: Rows): void {
  const rights = rightsOf(analysis);
  for (const { oid } of tablesWritten(analysis, use.relation)) {
    const [dependence] = rights[kind].get(oid) ?? [];
    if (dependence !== undefined) refuseRow(analysis, use, dependence, kind);
    for (const replaced of rights.replacements.get(oid) ?? [])
      refuseReplacement(analysis, use, replaced, kind);
  }
}

function refuseRow(analysis: Analysis, use: RelationUse, dependence: Dependence, kind: Rows): never {
  const { basis, relation, columns } = dependence;
  const table = relationKey(relation.schema, relation.name);
  const names = columns.size === 0 ? [`${table}.*`] : [...columns].map((column) => `${table}.${column}`);
  const [what, row] =
    kind === "inserts" ? ["insert into", "a new row"] : ["delete from", "the loss of a row"];
  return analysis.deny(
    `role "${analysis.scope.role.name}" may not ${what} ${use.key}: ${row} could make a condition under "${basis.key}:" of the role hold for others`,
    basis.key,
    remedy(analysis, names),
  );
}

/** What a statement has done so far to tables whose rows may come and go, but not both at once. */
const done = new WeakMap<Analysis, Map<Relation, Set<Rows>>>();

/**
 * Postgres looks for rows that refer to a deleted key when the statement ends, and a new row of that key will do
 * (ri_Check_Pk_Match in utils/adt/ri_triggers.c): so one statement could put its own row in the place of another.
 */
function refuseReplacement(analysis: Analysis, use: RelationUse, dependence: Dependence, kind: Rows): void {
  const { basis, relation } = dependence;
  const byTable = done.get(analysis) ?? new Map<Relation, Set<Rows>>();
  done.set(analysis, byTable);
  const kinds = byTable.get(relation) ?? new Set();
  byTable.set(relation, kinds.add(kind));
  if (kinds.size < 2) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" may not delete from ${use.key} and insert into it in one statement: a condition under "${basis.key}:" of the role depends on its rows`,
    basis.key,
    "Send two statements.",
  );
}

function remedy({ rolePlace }: Analysis, names: readonly string[]): string {
  return `Let a function under "calls:", or the application, write it; or list ${names.join(", ")} under "writes_own_conditions:" of ${rolePlace}.`;
}

/** The tables that a write comes to: a view's are those below it. */
function tablesWritten(analysis: Analysis, relation: Relation): readonly Relation[] {
  const { lineage } = relation;
  if (lineage === undefined) return [relation];
  return basesOf(analysis, relation).flatMap((base) => tablesWritten(analysis, base));
}

/** What Postgres writes through stands in the view's FROM clause alone, and so is what its columns copy. */
function basesOf({ scope }: Analysis, { oid, lineage }: Relation): readonly Relation[] {
  const copied = [...(lineage?.origins.values() ?? [])];
  const bases = new Set(
    (copied.length > 0 ? copied : (lineage?.dependsOn ?? [])).map((base) => base.relation),
  );
  return [...bases].flatMap((base) => (base === oid ? [] : (scope.catalog.relationsByOid.get(base) ?? [])));
}

interface Written {
  readonly relation: Relation;
  readonly names: readonly string[];
}

/** The same of columns: Postgres writes through plain copies alone. */
function columnsWritten(
  analysis: Analysis,
  relation: Relation,
  names: readonly string[],
): readonly Written[] {
  const { lineage } = relation;
  if (lineage === undefined) return [{ relation, names }];
  return basesOf(analysis, relation).flatMap((base) => {
    const copied = names.flatMap((name) => {
      const origin = lineage.origins.get(name);
      const column = base.columns.find(({ number }) => number === origin?.column);
      return origin?.relation === base.oid && column !== undefined ? [column.name] : [];
    });
    return columnsWritten(analysis, base, copied);
  });
}
