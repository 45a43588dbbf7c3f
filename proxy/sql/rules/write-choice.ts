import type { CopyStmt, InsertStmt, Node, ResTarget } from "libpg-query";
import type { Relation } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { pinsOf } from "../bind/pins.ts";
import { tablesWithin } from "../bind/tables.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { Sights } from "../sight.ts";
import { assignedColumns } from "./assignments.ts";
import { denied } from "./denied.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import { countsPeople, sightOf } from "./people.ts";
import { triesProtected } from "./probing.ts";
import { tellsOfProtected } from "./telling-writes.ts";
import type { Columns, RowCount, Target } from "./write-findings.ts";

/* How many rows a write has, and how they are chosen. */

/**
 * How a write chooses its rows: it provides them, by a unique key, or otherwise. `tries`: each of this many new rows is
 * stored or not, depending on whether a protected value already exists.
 */
export type RowChoice = "new" | "one" | "many" | { readonly tries: RowCount };

/** What a write reveals by its success and its tag. */
export interface ToldByWrite {
  readonly choice: RowChoice;
  /** Its success reveals existing protected values. */
  readonly tells: boolean;
}

export function toldByWrite(statement: BoundStatement, given: Given, query: BoundQuery): ToldByWrite {
  const { form, write, clauses } = query;
  const sight = write && sightOf(given.sights, write.target);
  if (sight === undefined) return { choice: "many", tells: true };
  const { relation, key } = sight;
  const tells = (columns: Columns) => tellsOfProtected(given, relation, columns);
  switch (form) {
    case "insert":
      return {
        choice: choiceOfInsert(given, query, { relation, key, sight }),
        tells: tells(givenColumns(query)),
      };
    case "update":
      return {
        choice: choiceOfRows(statement, given.sights, query),
        tells: tells(assignedColumns(clauses.assignments)),
      };
    case "delete":
      return { choice: choiceOfRows(statement, given.sights, query), tells: false };
    default:
      return { choice: "many", tells: tells(undefined) };
  }
}

/** Whether a write is made from, or reveals, people or columns that the role sees masked. */
export function concernsPeople(statement: BoundStatement, given: Given, query: BoundQuery): boolean {
  const { sights } = given;
  return (
    [...tablesWithin(statement, query)].some((reference) => {
      const sight = sightOf(sights, reference);
      return sight?.people !== undefined || sight?.guarded === true || sight?.relation.hasRules === true;
    }) || toldByWrite(statement, given, query).tells
  );
}

/** For UPDATE, DELETE and MERGE. */
export function choiceOfRows(statement: BoundStatement, sights: Sights, query: BoundQuery): RowChoice {
  const { form, write } = query;
  const isOne = form !== "merge" && write !== undefined && isOneRow(statement, sights, query, write.target);
  return isOne ? "one" : "many";
}

/** ON CONFLICT skips rows whose protected value already exists, and the stored rows can be read afterwards. */
export function choiceOfInsert(given: Given, query: BoundQuery, target: Target): RowChoice {
  if ((query.node as InsertStmt).onConflictClause === undefined) return "new";
  const rows = rowsInserted(query);
  if (rows === 1) return "one";
  return triesProtected(given, target, givenColumns(query)) ? { tries: rows } : "many";
}

/** For a role that pays for each try. */
export function uncountedTries({ role }: Given, choice: RowChoice): Refusal | undefined {
  if (typeof choice !== "object" || choice.tries !== undefined || !countsPeople(role)) return undefined;
  return denied(
    role,
    `role "${role.name}" has a budget of people, and how many protected values this statement tries is not known before it runs`,
    "budget",
    "Write the rows out: INSERT … VALUES. Or leave ON CONFLICT out.",
  );
}

/** Whether conditions name a whole unique key of a reference, so that at most one row of it can match. */
export function isOneRow(
  statement: BoundStatement,
  sights: Sights,
  query: BoundQuery,
  reference: BoundRelation,
): boolean {
  const { source } = reference;
  if (source.kind !== "table") return false;
  return keysNamed(statement, query, reference).some((key) =>
    holdsInChildren(sights, reference, source.relation, key),
  );
}

/** The unique keys of a table that conditions name as a whole, each column by one value. */
export function keysNamed(
  statement: BoundStatement,
  query: BoundQuery,
  reference: BoundRelation,
): readonly (readonly string[])[] {
  const { source } = reference;
  if (source.kind !== "table") return [];
  const named = new Set(
    pinsOf(statement, query).flatMap((pin) => {
      const { column, to, restricts } = pin;
      const isOwn = column.relation === reference && restricts.has(reference) && isPlainEquality(pin);
      const isOneValue = to.kind === "values" && to.nodes.length === 1;
      return isOwn && isOneValue && column.source.kind === "own" ? [column.source.column.name] : [];
    }),
  );
  return source.relation.rowKeys.filter((key) => key.every((column) => named.has(column)));
}

/**
 * A unique index does not cover the rows of children by inheritance: they need one of their own. Keys of people are not
 * written (`movedToOthers`), so rows that share one are that person's.
 */
function holdsInChildren(
  sights: Sights,
  reference: BoundRelation,
  relation: Relation,
  key: readonly string[],
): boolean {
  const [only, ...more] = key;
  if (more.length === 0 && only === sightOf(sights, reference)?.people?.subject?.column) return true;
  return sights
    .takers(relation)
    .every(
      ({ isPartition, rowKeys }) =>
        isPartition || rowKeys.some((own) => own.every((column) => key.includes(column))),
    );
}

/** For INSERT: the rows of VALUES, or the one row of a SELECT without FROM. */
export function rowsInserted({ write }: BoundQuery): RowCount {
  const source = write?.source;
  if (source === undefined) return 1;
  const { form, from, clauses, traits } = source;
  const lists = clauses.values?.length ?? 0;
  // Postgres treats VALUES with a single row as a target list, in which a function may return many rows
  // (transformInsertStmt).
  if (form === "values") return lists === 1 && traits.makesRows ? undefined : lists;
  const isOneRow = form === "select" && from.length === 0 && !traits.isGrouped && !traits.makesRows;
  return isOneRow ? 1 : undefined;
}

/** For UPDATE: one value for all rows is one lookup. */
export function valuesAssigned({ clauses }: BoundQuery): RowCount {
  return (clauses.assignments ?? []).every(isOneValue) ? 1 : undefined;
}

function isOneValue(node: Node): boolean {
  const { val } = nodeOf(node)[1] as ResTarget;
  return val !== undefined && isConstant(val);
}

function isConstant(node: Node): boolean {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") {
    const { arg } = body as { arg?: Node };
    return arg !== undefined && isConstant(arg);
  }
  return type === "A_Const" || type === "ParamRef" || type === "SetToDefault";
}

/** Columns of an INSERT or COPY FROM whose values the client chooses: not those for which each row says DEFAULT. */
export function givenColumns({ node, write }: BoundQuery): Columns {
  const { cols, selectStmt } = node as InsertStmt;
  const { attlist, is_from } = node as CopyStmt;
  if (is_from === true) return attlist?.map(stringOf);
  const source = write?.target.source;
  const names =
    cols?.map((each) => (nodeOf(each)[1] as ResTarget).name ?? "") ??
    (source?.kind === "table" ? source.relation.columns.map(({ name }) => name) : undefined);
  if (selectStmt === undefined) return [];
  if (write?.source?.form !== "values") return names;
  const rows = (write.source.clauses.values ?? []).map(
    (list) => (nodeOf(list)[1] as { items?: readonly Node[] }).items ?? [],
  );
  return names?.filter((_, index) =>
    rows.some((row) => row[index] !== undefined && nodeOf(row[index])[0] !== "SetToDefault"),
  );
}
