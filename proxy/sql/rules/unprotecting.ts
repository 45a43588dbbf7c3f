import type {
  ColumnRef,
  DeleteStmt,
  LockingClause,
  MergeStmt,
  Node,
  RangeVar,
  ResTarget,
  SelectStmt,
  SortBy,
  UpdateStmt,
} from "libpg-query";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundRelation, BoundStatement, Clauses, FromItem } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { type NamedSights, namesProtected } from "./named-columns.ts";
import { countsPeople, sightOf } from "./people.ts";
import { choiceOfRows, isOneRow } from "./write-choice.ts";

/*
 * Groups that name no protected column cost nothing (docs/metering.md, "What comes back"). So no write may copy a
 * protected value into an unprotected column, nor mark there which rows have one: a role with a budget of people would
 * read it in such groups. A lookup is counted, and may choose rows.
 */

type NamesGiven = Pick<Given, "role" | "sights">;

/** `UPDATE t SET plain = left(protected, 9)` */
export function storedProtected(
  given: NamesGiven,
  named: NamedSights,
  { write, clauses }: BoundQuery,
): Refusal | undefined {
  if (write === undefined || !countsPeople(given.role)) return undefined;
  const stored = (clauses.assignments ?? []).find(
    (node) => isPlain(given, write.target, node) && namesProtected(named, [node]),
  );
  if (stored === undefined) return undefined;
  const { role } = given;
  const { name = "" } = nodeOf(stored)[1] as ResTarget;
  return denied(
    role,
    `role "${role.name}" may not store what is made of protected columns in ${keyOf(given, write.target)}.${name}`,
    "budget",
    "What is stored there would be read without being counted; send the value itself.",
  );
}

/**
 * `UPDATE t SET plain = 'x' WHERE protected LIKE 'A%'`: allowed for at most one row, or if only protected columns are
 * written.
 */
export function markedByProtected(
  statement: BoundStatement,
  given: NamesGiven,
  named: NamedSights,
  query: BoundQuery,
): Refusal | undefined {
  const { write, form, clauses } = query;
  if (write === undefined || !countsPeople(given.role)) return undefined;
  if (choiceOfRows(statement, query) !== "many") return undefined;
  const assigned = clauses.assignments ?? [];
  if (form === "update" && !assigned.some((node) => isPlain(given, write.target, node))) return undefined;
  if (!named.chosen.has(write.target.node) && !namesProtected(named, choosing(query))) return undefined;
  return denied(
    given.role,
    `role "${given.role.name}" may not choose rows of ${keyOf(given, write.target)} to write by protected columns`,
    "budget",
    "Which rows were chosen would reveal people who are not counted: read their keys, and name the rows by them.",
  );
}

/** Parts of a write that determine its rows. */
function choosing({ form, node, clauses }: BoundQuery): readonly Node[] {
  switch (form) {
    case "update":
      return [...((node as UpdateStmt).fromClause ?? []), ...(clauses.where ?? [])];
    case "delete":
      return [...((node as DeleteStmt).usingClause ?? []), ...(clauses.where ?? [])];
    case "merge": {
      const { joinCondition, mergeWhenClauses = [] } = node as MergeStmt;
      return joinCondition === undefined ? mergeWhenClauses : [joinCondition, ...mergeWhenClauses];
    }
    default:
      return [];
  }
}

/**
 * `FOR UPDATE` of rows that protected columns choose: a foreign key's check in another session waits for each of them,
 * or does not, which costs nothing. Allowed if at most one row of each relation is locked, or if none is chosen in this
 * way.
 */
export function lockedByProtected(
  statement: BoundStatement,
  given: NamesGiven,
  named: NamedSights,
  query: BoundQuery,
): Refusal | undefined {
  if (query.clauses.locking === undefined || !countsPeople(given.role)) return undefined;
  const several = lockedBy(query).find((reference) => !isOneRow(statement, query, reference));
  if (several === undefined || !namesProtected(named, choosingRead(query))) return undefined;
  const key = several.source.kind === "table" ? keyOf(given, several) : "a relation";
  return denied(
    given.role,
    `role "${given.role.name}" may not choose rows of ${key} to lock by protected columns`,
    "budget",
    "Which rows are locked would reveal people who are not counted: read their keys, and lock the rows by them.",
  );
}

/** The references whose rows FOR UPDATE and similar clauses lock, by their names in FROM. */
function lockedBy({ from, clauses }: BoundQuery): readonly BoundRelation[] {
  const visible = from.flatMap(visibleIn);
  return (clauses.locking ?? []).flatMap((clause) => {
    const { lockedRels } = nodeOf(clause)[1] as LockingClause;
    const names = lockedRels?.map((node) => (nodeOf(node)[1] as RangeVar).relname);
    return visible.filter(({ alias }) => names?.includes(alias) !== false);
  });
}

function visibleIn(item: FromItem): readonly BoundRelation[] {
  if (item.kind === "relation" || item.relation.hasAlias) return [item.relation];
  return [...visibleIn(item.left), ...visibleIn(item.right)];
}

/** Parts of a SELECT that determine its rows. */
function choosingRead({ node, clauses }: BoundQuery): readonly Node[] {
  const { fromClause = [] } = node as SelectStmt;
  const { targets = [], locking: _, ...others } = clauses;
  return [...fromClause, ...Object.values(others).flat(), ...(isSortedByTarget(clauses) ? targets : [])];
}

/** ORDER BY may refer to a target by number or label, and LIMIT then chooses rows by it. */
function isSortedByTarget({ sort = [], limit, targets = [] }: Clauses): boolean {
  if (limit === undefined) return false;
  const labels = targets.map((node) => (nodeOf(node)[1] as ResTarget).name);
  return sort.some((each) => {
    const { node } = nodeOf(each)[1] as SortBy;
    const [type, key] = node === undefined ? [] : nodeOf(node);
    if (type === "A_Const") return true;
    const [field, ...more] = type === "ColumnRef" ? ((key as ColumnRef).fields ?? []) : [];
    return field !== undefined && more.length === 0 && labels.includes(stringOf(field));
  });
}

/** The assigned column is one that everyone may see. */
function isPlain({ sights }: NamesGiven, target: BoundRelation, node: Node): boolean {
  const { name } = nodeOf(node)[1] as ResTarget;
  return sightOf(sights, target)?.columns.find(({ column }) => column.name === name)?.isProtected === false;
}

function keyOf({ sights }: NamesGiven, reference: BoundRelation): string {
  return sightOf(sights, reference)?.key ?? "a relation";
}
