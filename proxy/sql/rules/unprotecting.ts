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
import { choiceOfRows, isOneRow, rowsInserted } from "./write-choice.ts";

/*
 * Groups that name no protected column cost nothing (docs/metering.md, "What comes back"). So no write may copy a
 * protected value into an unprotected column, nor mark there which rows have one: a role with a budget of people would
 * read it in such groups. Rows that are written are marked by their place in the table, too (`any_value`, `ctid`), and by
 * the size of what is stored, even in protected columns. A lookup is counted, and may choose rows.
 */

type NamesGiven = Pick<Given, "role" | "sights">;

/** `UPDATE t SET plain = left(protected, 9)`, also by ON CONFLICT; of several rows `SET protected = left(protected, 9)`. */
export function storedProtected(
  statement: BoundStatement,
  given: NamesGiven,
  named: NamedSights,
  query: BoundQuery,
): Refusal | undefined {
  const { write } = query;
  if (write === undefined || !countsPeople(given.role)) return undefined;
  const stored = protectedValues(named, query);
  const plain = stored.find((node) => isPlain(given, write.target, node));
  const column = plain ?? (writesOneRow(statement, given, query) ? undefined : stored[0]);
  if (column === undefined) return undefined;
  const { role } = given;
  const { name = "" } = nodeOf(column)[1] as ResTarget;
  const why =
    plain === undefined
      ? "How much is stored for each of several rows, and where, would reveal it: send the value itself, or name one row by its key."
      : "What is stored there would be read without being counted; send the value itself.";
  return denied(
    role,
    `role "${role.name}" may not store what is made of protected columns in ${keyOf(given, write.target)}.${name}`,
    "budget",
    why,
  );
}

/** Assignments of an UPDATE or ON CONFLICT whose values are made of protected columns. */
export function protectedValues(named: NamedSights, { clauses }: BoundQuery): readonly Node[] {
  return (clauses.assignments ?? []).filter((node) => namesProtected(named, [node]));
}

/** `UPDATE t SET plain = 'x' WHERE protected LIKE 'A%'`, also by ON CONFLICT: allowed for at most one row. */
export function markedByProtected(
  statement: BoundStatement,
  given: NamesGiven,
  named: NamedSights,
  query: BoundQuery,
): Refusal | undefined {
  const { write } = query;
  if (write === undefined || !countsPeople(given.role)) return undefined;
  if (writesOneRow(statement, given, query)) return undefined;
  const isChosen = query.form !== "insert" && named.chosen.has(write.target.node);
  if (!isChosen && !namesProtected(named, choosing(query))) return undefined;
  return denied(
    given.role,
    `role "${given.role.name}" may not choose rows of ${keyOf(given, write.target)} to write by protected columns`,
    "budget",
    "Which rows were chosen would reveal people who are not counted: read their keys, and name the rows by them.",
  );
}

function writesOneRow(statement: BoundStatement, { sights }: NamesGiven, query: BoundQuery): boolean {
  return query.form === "insert"
    ? rowsInserted(query) === 1
    : choiceOfRows(statement, sights, query) === "one";
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
    // The condition of ON CONFLICT DO UPDATE.
    case "insert":
      return clauses.where ?? [];
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
  const several = lockedBy(query).find((reference) => !isOneRow(statement, given.sights, query, reference));
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
