import type { MergeStmt, MergeWhenClause } from "libpg-query";
import { type Relation, relationKey } from "../../catalog/catalog.ts";
import type { Role } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { type Dependence, type OwnRights, ownRights } from "../own-rights.ts";
import { nodeOf } from "../parse/grammar.ts";
import { assignedColumns } from "./assignments.ts";
import { denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import type { Target } from "./write-findings.ts";

/*
 * No role may write what its own conditions depend on, unless the policy says so. This includes transactions that it
 * rolls back: what it reads before that has already been sent.
 */

type Rows = "inserts" | "deletes";

/** UPDATE and ON CONFLICT DO UPDATE. */
export function ownColumns(given: Given, target: Target, assigned: readonly string[]): Refusal | undefined {
  const rights = rightsOf(given);
  for (const written of columnsWritten(given, target.relation, assigned)) {
    for (const { basis, relation, columns } of rights.columns.get(written.relation.oid) ?? []) {
      const column = written.names.find((name) => columns.has(name));
      if (column !== undefined) return ofColumn(given, target, { basis, relation, columns }, column);
    }
  }
  return undefined;
}

/** The key of the role's condition that depends on the column, if there is one. */
export function conditionOn(given: Given, { relation }: Target, column: string): string | undefined {
  const rights = rightsOf(given);
  for (const written of columnsWritten(given, relation, [column])) {
    for (const { basis, columns } of rights.columns.get(written.relation.oid) ?? [])
      if (written.names.some((name) => columns.has(name))) return basis.key;
  }
  return undefined;
}

/**
 * INSERT and COPY FROM: a new row could make a condition true for existing rows. DELETE: a missing row could make a
 * condition true.
 */
export function ownRows(given: Given, target: Target, kind: Rows): Refusal | undefined {
  const rights = rightsOf(given);
  for (const { oid } of tablesWritten(given, target.relation)) {
    const [dependence] = rights[kind].get(oid) ?? [];
    if (dependence !== undefined) return ofRow(given, target, dependence, kind);
  }
  return undefined;
}

export function ownMerge(
  given: Given,
  target: Target,
  { mergeWhenClauses = [] }: MergeStmt,
): Refusal | undefined {
  for (const node of mergeWhenClauses) {
    const { commandType, targetList } = nodeOf(node)[1] as MergeWhenClause;
    const kind = KINDS[commandType ?? ""];
    const refusal =
      kind === undefined
        ? ownColumns(given, target, assignedColumns(targetList))
        : ownRows(given, target, kind);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

const KINDS: Readonly<Record<string, Rows>> = { CMD_INSERT: "inserts", CMD_DELETE: "deletes" };

function rightsOf({ role, policy, catalog }: Given): OwnRights {
  return ownRights(role, policy, catalog);
}

function ofColumn(given: Given, target: Target, dependence: Dependence, column: string): Refusal {
  const { role } = given;
  const { basis, relation } = dependence;
  const name = `${relationKey(relation.schema, relation.name)}.${column}`;
  const through = relation === target.relation ? "" : ` through ${target.key}`;
  return denied(
    role,
    `role "${role.name}" may not change ${name}${through}: a condition under "${basis.key}:" of the role depends on it`,
    basis.key,
    `The user could make the condition hold for any row. ${remedy(role, [name])}`,
  );
}

function ofRow({ role }: Given, target: Target, dependence: Dependence, kind: Rows): Refusal {
  const { basis, relation, columns } = dependence;
  const table = relationKey(relation.schema, relation.name);
  const names = columns.size === 0 ? [`${table}.*`] : [...columns].map((column) => `${table}.${column}`);
  const [what, row] =
    kind === "inserts" ? ["insert into", "a new row"] : ["delete from", "the loss of a row"];
  return denied(
    role,
    `role "${role.name}" may not ${what} ${target.key}: ${row} could make a condition under "${basis.key}:" of the role hold for others`,
    basis.key,
    remedy(role, names),
  );
}

/**
 * Postgres searches for rows that refer to a deleted key at the end of the statement, and accepts a new row with that
 * key (ri_Check_Pk_Match in utils/adt/ri_triggers.c): one statement could replace another row by its own.
 */
export function ownReplacement({ queries }: BoundStatement, given: Given): Refusal | undefined {
  const rights = rightsOf(given);
  const done = new Map<Relation, Set<Rows>>();
  for (const query of queries) {
    const target = query.write?.target.source;
    if (target?.kind !== "table") continue;
    for (const kind of rowsOf(query)) {
      for (const { oid } of tablesWritten(given, target.relation)) {
        for (const dependence of rights.replacements.get(oid) ?? []) {
          const kinds = done.get(dependence.relation) ?? new Set();
          done.set(dependence.relation, kinds.add(kind));
          if (kinds.size === 2) return ofReplacement(given, target.relation, dependence);
        }
      }
    }
  }
  return undefined;
}

/** What a write does with whole rows. */
function rowsOf({ form, node }: BoundQuery): readonly Rows[] {
  if (form === "insert") return ["inserts"];
  if (form === "delete") return ["deletes"];
  const { mergeWhenClauses = [] } = (form === "merge" ? node : {}) as MergeStmt;
  return mergeWhenClauses.flatMap(
    (each) => KINDS[(nodeOf(each)[1] as MergeWhenClause).commandType ?? ""] ?? [],
  );
}

function ofReplacement({ role }: Given, { schema, name }: Relation, { basis }: Dependence): Refusal {
  return denied(
    role,
    `role "${role.name}" may not delete from ${relationKey(schema, name)} and insert into it in one statement: a condition under "${basis.key}:" of the role depends on its rows`,
    basis.key,
    "Send two statements.",
  );
}

function remedy(role: Role, names: readonly string[]): string {
  return `Let a function under "calls:", or the application, write it; or list ${names.join(", ")} under "writes_own_conditions:" of ${placeOfRole(role)}.`;
}

/** The tables that a write reaches: for a view, those below it. */
function tablesWritten(given: Given, relation: Relation): readonly Relation[] {
  const { lineage } = relation;
  if (lineage === undefined) return [relation];
  return basesOf(given, relation).flatMap((base) => tablesWritten(given, base));
}

/** Postgres writes only to the relation in the view's FROM clause, and the view's columns copy that relation. */
function basesOf({ catalog }: Given, { oid, lineage }: Relation): readonly Relation[] {
  const copied = [...(lineage?.origins.values() ?? [])];
  const bases = new Set(
    (copied.length > 0 ? copied : (lineage?.dependsOn ?? [])).map((base) => base.relation),
  );
  return [...bases].flatMap((base) => (base === oid ? [] : (catalog.relationsByOid.get(base) ?? [])));
}

interface Written {
  readonly relation: Relation;
  readonly names: readonly string[];
}

/** The same for columns: Postgres writes only through plain copies. */
function columnsWritten(given: Given, relation: Relation, names: readonly string[]): readonly Written[] {
  const { lineage } = relation;
  if (lineage === undefined) return [{ relation, names }];
  return basesOf(given, relation).flatMap((base) => {
    const copied = names.flatMap((name) => {
      const origin = lineage.origins.get(name);
      const column = base.columns.find(({ number }) => number === origin?.column);
      return origin?.relation === base.oid && column !== undefined ? [column.name] : [];
    });
    return columnsWritten(given, base, copied);
  });
}
