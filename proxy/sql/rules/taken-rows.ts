import type {
  IndexElem,
  InsertStmt,
  MergeStmt,
  MergeWhenClause,
  Node,
  RangeVar,
  ResTarget,
  TruncateStmt,
} from "libpg-query";
import { type Relation, relationsNamed } from "../../catalog/catalog.ts";
import type { BoundColumn, BoundQuery, BoundStatement } from "../bind/bound.ts";
import { columnMeant } from "../bind/questions.ts";
import { reached } from "../lineage.ts";
import { nodeOf } from "../parse/grammar.ts";
import { isIncoming } from "./base-columns.ts";
import type { Given } from "./given.ts";
import { keyOfPerson } from "./people.ts";
import { type Loss, lossBy, stepBy } from "./person-paths.ts";
import { isOfOnePerson } from "./pinned-people.ts";
import { newKeyOnPath } from "./replaced-rows.ts";
import { namesRows } from "./row-names.ts";
import { referencesTo, withGenerated, writtenInto } from "./written-tables.ts";

/*
 * Rows that a write of a watched role takes from their person: it names another one there, or nobody. They are read without
 * that person being counted then, so the write counts as reading them.
 */

/** How many people one written row stands for; "one person": all rows together. */
export type Taken = "nobody" | "one person" | "one each" | "any number";

export function peopleTaken(statement: BoundStatement, given: Given): Taken {
  const found = statement.queries.map((query) => takenBy(statement, given, query));
  if (newKeyOnPath(statement, given, "held") !== undefined) found.push("one each");
  const most = found.reduce(
    (one, other) => (ORDER.indexOf(other) > ORDER.indexOf(one) ? other : one),
    "nobody",
  );
  // Two writes of one person each may be of two.
  return most === "one person" && found.filter((each) => each === most).length > 1 ? "one each" : most;
}

/** TRUNCATE says no number. With CASCADE the tables that refer to these are emptied as well. */
export function emptiesPaths({ relations = [], behavior }: TruncateStmt, given: Given): boolean {
  const { catalog } = given;
  const named = relations.flatMap((each) => relationsNamed(catalog, nodeOf(each)[1] as RangeVar));
  const emptied =
    behavior === "DROP_CASCADE"
      ? reached(named, (relation) => referencesTo(catalog, relation.oid).map(({ from }) => from))
      : named;
  return emptied.some((relation) => lossBy(given, relation) !== undefined);
}

const ORDER: readonly Taken[] = ["nobody", "one person", "one each", "any number"];

function takenBy(statement: BoundStatement, given: Given, query: BoundQuery): Taken {
  const { write, form } = query;
  if (write === undefined) return "nobody";
  const lost = deletes(query) ? lostBy(given, query) : undefined;
  if (lost === "any number") return lost;
  if (lost === undefined && !changesKeys(statement, given, query)) return "nobody";
  const isOfOne = OF_WHERE.has(form) && isOfOnePerson(statement, given, query);
  return isOfOne ? "one person" : "one each";
}

const OF_WHERE: ReadonlySet<string> = new Set(["update", "delete"]);

function lostBy(given: Given, { write }: BoundQuery): Loss | undefined {
  const source = write?.target.source;
  return source?.kind === "table" ? lossBy(given, source.relation) : undefined;
}

function deletes({ form, node }: BoundQuery): boolean {
  if (form !== "merge") return form === "delete";
  const { mergeWhenClauses = [] } = node as MergeStmt;
  return mergeWhenClauses.some((each) => (nodeOf(each)[1] as MergeWhenClause).commandType === "CMD_DELETE");
}

/** Whether existing rows may get another value in a column that leads to a person. */
function changesKeys(statement: BoundStatement, given: Given, query: BoundQuery): boolean {
  const { write, clauses, form, node } = query;
  const { onConflictClause } = (form === "insert" ? node : {}) as InsertStmt;
  const items = form === "insert" ? (onConflictClause?.targetList ?? []) : (clauses.assignments ?? []);
  const keys = new Set(
    write?.assigned.filter((column) => leadsToPerson(given, column)).map(({ name }) => name) ?? [],
  );
  return items.some((item) => {
    const { name = "" } = nodeOf(item)[1] as ResTarget;
    return keys.has(name) && !staysAsItIs(statement, query, item);
  });
}

/** The key of the row's person, one by which other rows find theirs, or one by which its reader was shown the row. */
function leadsToPerson(given: Given, column: BoundColumn): boolean {
  const { source } = column.relation;
  if (keyOfPerson(given.sights, column) !== undefined) return true;
  if (source.kind !== "table") return false;
  const { relation } = source;
  if (stepBy(given, relation, column.name) !== undefined || namesRows(given, relation, column.name))
    return true;
  // A view may show the key under two names, and a table may compute it from another column.
  return writtenInto(given.catalog, relation, [column.name])
    .map(withGenerated)
    .some(({ base, names }) => [...names].some((name) => isKeyIn(given, base, name)));
}

function isKeyIn({ sights }: Given, base: Relation, name: string): boolean {
  const sight = sights.of(base);
  return sight.ok && sight.sight.people?.subject?.column === name;
}

/** `SET a = a`, and by ON CONFLICT (a) `SET a = excluded.a`: ORMs write all columns of a row. */
function staysAsItIs(statement: BoundStatement, query: BoundQuery, item: Node): boolean {
  const { name, val, indirection } = nodeOf(item)[1] as ResTarget;
  const column = val && indirection === undefined ? columnMeant(statement, nodeOf(val)[1]) : undefined;
  if (column?.name !== name || column === undefined) return false;
  if (column.relation === query.write?.target) return true;
  return isIncoming(column.relation) && keysOfConflict(query).includes(column.name);
}

function keysOfConflict({ node }: BoundQuery): readonly string[] {
  const { onConflictClause } = node as InsertStmt;
  return (onConflictClause?.infer?.indexElems ?? []).map((each) => (nodeOf(each)[1] as IndexElem).name ?? "");
}
